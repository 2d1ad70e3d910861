# frozen_string_literal: true

# Where Polyphony is not as stock Ruby: what is meant, each with its reason, and what is yet to be mended.
module Known
  # `step` is the call, `stock` what stock Ruby says, and `ours` what comes of it here, in the `modes`.
  Entry = Struct.new(:modes, :step, :stock, :ours, :reason) do
    def fits?(mode, stock, ours)
      modes.include?(mode) && stock.split("\t")[1].to_s.match?(step) && stock.match?(self.stock) && ours.match?(self.ours)
    end
  end

  DROP_IN = %w[main spun].freeze
  BARE = %w[bare].freeze
  EVERYWHERE = (DROP_IN + BARE).freeze

  MEANT = [
    Entry.new(DROP_IN, /sysread|recv/, /for buffered IO/, /=> /, "what is buffered is read first, by these too"),
    Entry.new(DROP_IN, /readpartial|read_nonblock|sysread|nread|io\.wait\w*\(0\)|ready\?|sysseek|recvmsg|ungetc/, //, //, "how far earlier calls read ahead is nobody's promise, and ours read in other pieces"),
    Entry.new(DROP_IN, /mutex.synchronize/, /recursive locking/, /=> /, "a mutex that the fiber has already is no error: the block just runs"),
    Entry.new(DROP_IN, /Queue.new\(3\)/, /TypeError/, /=> Thread::Queue/, "a queue may have a cap"),
    Entry.new(DROP_IN, /foreach/, /\$_ /, /\$_ /, "a loop leaves the `$_` of its caller alone"),
    Entry.new(DROP_IN, /each_byte/, /=> /, /IOError/, "stock Ruby forgets to look whether it may read"),
    Entry.new(DROP_IN, /\$stdin = io; (gets|readline)/, /\\x0A" UTF-16/, /UTF-16/, "stock Ruby cuts the line's end in two"),
    Entry.new(DROP_IN, /sleep\(0(\.001|r)?\)/, /=> 0/, /=> nil/, "sleep returns what the fiber was scheduled with"),
    Entry.new(DROP_IN, /kill\.join\.status/, /=> false/, /NoMethodError/, "joining a thread gives its value"),
    Entry.new(EVERYWHERE, /Timeout.timeout\(-1\)/, /=> 9/, /ArgumentError/, "a newer standard library refuses it too"),
    Entry.new(BARE, /sysread/, /=> /, /EAGAIN/, "before Ruby 3.2 the hook cannot tell sysread from read_nonblock"),
    Entry.new(BARE, /mutex.sleep/, /=> nil/, /=> 0/, "Ruby 3.1 forgets to say that the time was up where any scheduler runs")
  ].freeze

  # Not meant: each line here is a fault, and goes with its mending.
  OPEN = [
    Entry.new(DROP_IN, /\$stdin = io; (gets|readline)/, /\$\. \d/, /\$\. \d/, "gets of Kernel with a separator or a limit does not count in `$.`"),
    Entry.new(DROP_IN, //, /Connection reset by peer @ /, /Connection reset by peer/, "the message does not say which function and descriptor"),
    Entry.new(DROP_IN, //, /encoding mismatch/, /invalid limit/, "of two wrong arguments another is told of"),
    Entry.new(DROP_IN, /\$stdout = io; p/, //, //, "`p` writes all in one piece, and nothing is not written at all"),
    Entry.new(DROP_IN, /"\|echo/, /\$\? exit 0/, /\$\? exit/, "`IO.read` of a command leaves `$?` alone"),
    Entry.new(EVERYWHERE, /syswrite\(""\)/, /EPIPE/, /=> 0/, "writing nothing does not find that nobody reads")
  ].freeze

  # After these calls nothing more of a sequence is compared, although they themselves came out the same.
  ENDS = [
    Entry.new(DROP_IN, //, /InvalidByteSequenceError|UndefinedConversionError/, //, "ours waits for the end before it says what cannot be converted"),
    Entry.new(DROP_IN, /readline|each_line|gets/, /encoding mismatch/, //, "ours waits for something to read before it says what is wrong with the arguments")
  ].freeze

  ALL = (MEANT + OPEN).freeze
end
