# frozen_string_literal: true

# Where Polyphony is not as stock Ruby: what is meant, each with its reason, and what is yet to be mended.
module Known
  # `step` is the call, `stock` what stock Ruby says, and `ours` what comes of it here, in the `modes`.
  # `check` names what must hold of the two lines besides.
  Entry = Struct.new(:modes, :step, :stock, :ours, :reason, :check) do
    def fits?(mode, stock, ours)
      modes.include?(mode) && stock.split("\t")[1].to_s.match?(step) && stock.match?(self.stock) &&
        ours.match?(self.ours) && (check.nil? || __send__(check, stock, ours))
    end

    # Whether both read on from the same place: the bytes of one begin those of the other.
    def same_place?(*lines)
      shorter, longer = lines.map { |line| line[/=> \[*"((?:[^"\\]|\\.)*)"/, 1].to_s }.sort_by(&:size)
      longer.start_with?(shorter)
    end

    # Whether the sized queue of the locks is full, and nothing differs but who got in.
    def full?(*lines)
      states = lines.map { |line| line[/\| => \[([^\]]*)\]\z/, 1].to_s.split(", ") }
      states.all? { |state| state[3] && state[3] == state[5] } && states.map { |state| state.values_at(0..3, 5..) }.uniq.one?
    end
  end

  DROP_IN = %w[main spun].freeze
  BARE = %w[bare].freeze
  EVERYWHERE = (DROP_IN + BARE).freeze

  MEANT = [
    Entry.new(DROP_IN, /sysread|recv/, /for buffered IO/, /=> /, "what is buffered is read first, by these too"),
    Entry.new(DROP_IN, /readpartial|read_nonblock|sysread|recv/, /=> /, /=> /, "how far earlier calls read ahead is nobody's promise, and ours read in other pieces", :same_place?),
    Entry.new(DROP_IN, /read_nonblock|recv\w*_nonblock/, //, /EAGAIN|wait_readable/, "what stock Ruby was given because it waited longer"),
    Entry.new(DROP_IN, /recvmsg/, //, /for buffered IO/, "what the kernel tells of a message, a buffer cannot"),
    Entry.new(DROP_IN, /nread|io\.wait\w*\(0\)|ready\?|sysseek/, //, //, "and so is how much of it is in the kernel still"),
    Entry.new(DROP_IN, /mutex.synchronize/, /recursive locking/, /=> /, "a mutex that the fiber has already is no error: the block just runs"),
    Entry.new(DROP_IN, /Queue.new\(3\)/, /TypeError/, /=> Thread::Queue/, "a queue may have a cap"),
    Entry.new(DROP_IN, /sized/, /waits/, /waits/, "room goes to whoever waits for it; in stock Ruby to whoever runs when it is made", :full?),
    Entry.new(DROP_IN, /condition.wait\(mutex, 0\)/, /=> Thread::ConditionVariable.*=> nil|=> nil.*=> Thread::ConditionVariable/, /=> 0/, "of a signal and the end of the time that come together, either may count"),
    Entry.new(DROP_IN, /foreach/, /\$_ /, /\$_ /, "a loop leaves the `$_` of its caller alone"),
    Entry.new(DROP_IN, /each_byte/, /=> |EBADF/, /IOError/, "stock Ruby forgets to look whether it may read"),
    Entry.new(DROP_IN, /each_codepoint/, /=> \d+/, /=> \d+|invalid byte/, "stock Ruby takes bytes for characters where line ends are converted and no encoding is set"),
    Entry.new(DROP_IN, /read\(nil, buffer\)/, /ECONNRESET/, /ECONNRESET/, "what came before a reset is left for the next who reads"),
    Entry.new(DROP_IN, /\$stdin = io; (gets|readline)/, /(\\x0A"|\d*[13579]\/\d+) UTF-16|invalid byte sequence in UTF-16/, /UTF-16/, "stock Ruby cuts the line's end in two"),
    Entry.new(DROP_IN, /sleep\(0(\.001|r)?\)/, /=> 0/, /=> nil/, "sleep returns what the fiber was scheduled with"),
    Entry.new(DROP_IN, /kill\.join\.status/, /=> false/, /NoMethodError/, "joining a thread gives its value"),
    Entry.new(DROP_IN, /readline\(nil, \d+\)/, /EOFError/, /InvalidByteSequenceError/, "Ruby 3.4 takes for the end what cannot be converted"),
    Entry.new(EVERYWHERE, /Timeout.timeout\(-1\)/, /=> 9/, /ArgumentError/, "a newer standard library refuses it too"),
    Entry.new(BARE, /sysread/, /=> /, /EAGAIN/, "before Ruby 3.2 the hook cannot tell sysread from read_nonblock"),
    Entry.new(DROP_IN, /s\.connect\(.* s\.connect\(/, /=> 0/, /EISCONN/, "the kernel takes a second connect only of who did not wait for the first"),
    Entry.new(DROP_IN, /open\(.*&:gets/, /\$_ "/, /\$_ (nil|")/, "a method of Ruby's calls the block, and has a `$_` of its own"),
    Entry.new(BARE, /linked\.(write\(.*,|puts|print)/, /=> /, /=> /, "Ruby hands a scheduler one string after the other, and a datagram is what one write brings"),
    Entry.new(BARE, /\.(write\(.*,|puts|print)/, /=> /, /EPIPE/, "and the second finds out that nobody reads the first"),
    Entry.new(DROP_IN, /copy_stream\(io, path\)/, /=> \d+/, /=> \d+/, "of a file that is copied over itself there is what was read ahead"),
    Entry.new(BARE, /Socket\.tcp|TCPSocket\.new|udp\.send/, /Servname not supported|port 99999999/, /Name or service not known/, "Ruby takes no names of services where a scheduler resolves those of hosts"),
    Entry.new(BARE, /mutex.sleep|condition.wait\(mutex, 0\)/, /=> nil/, /=> 0/, "Ruby 3.1 forgets to say that the time was up where any scheduler runs")
  ].freeze

  # Not meant: a line here is a fault, and goes with its mending.
  OPEN = [].freeze

  # After these calls nothing more of a sequence is compared, although they themselves came out the same.
  ENDS = [
    Entry.new(DROP_IN, //, /ECONNRESET/, /ECONNRESET/, "what came before a reset is left for the next who reads; stock Ruby has lost it"),
    Entry.new(DROP_IN, /each_byte/, /byte oriented/, //, "stock Ruby takes a byte before it refuses")
  ].freeze

  ALL = (MEANT + OPEN).freeze
end
