# frozen_string_literal: true

require_relative "feeder"

# Sequences of calls on one stream, over every way that Ruby has to read and write one.
class Streams
  Step = Struct.new(:source, :pieces, :starves)

  TEXTS = ["a", "bc", "é", "€", "\n", "\n", "\r\n", "\r", "foo", "foo\n", ";", "\n\n\n", "x;y", " ", "\0", "\xff", "\xE2\x82", "12", "ü\n"].freeze
  LONG = ["x" * 9000, "line\n" * 1700, "é" * 4100, "y" * 20_000].freeze
  SEPARATORS = ['nil', '""', '"\n"', '";"', '"\r\n"', '"foo"', '"é"', '"\n\n"', '"xx"', "$/"].freeze
  LIMITS = [0, 1, 2, 3, 4, 5, 7, 20, 100, 9000, -1, "nil"].freeze
  LENGTHS = [0, 1, 1, 2, 3, 4, 5, 7, 9, 20, 100, 9000].freeze
  ENCODINGS = ['"utf-8"', '"binary"', '"iso-8859-1:utf-8"', '"utf-8:utf-16le"', '"euc-jp:utf-8"', '"us-ascii"', "nil", "nil, nil",
               '"utf-8", "iso-8859-1"', '"iso-8859-1", "utf-8"', '"utf-8", universal_newline: true', '"iso-8859-1:utf-8", crlf_newline: true',
               '"us-ascii:utf-8", invalid: :replace, undef: :replace', '"utf-8", newline: :universal', '"utf-8:utf-8"', '"bom|utf-8"', '"nonsense"', '"utf-16le:utf-8"'].freeze
  FILE_MODES = ['"r"', '"rb"', '"rt"', '"r:iso-8859-1:utf-8"', '"r:utf-16le:utf-8"', '"r:bom|utf-8"', '"r+"', '"r+"', '"r+"', '"w+"', '"a+"', '"r+b"',
                '"rb:utf-16be"', '"r+t"', '"w+:iso-8859-1"', '"r:utf-8:euc-jp"', '"w"', '"a"', '"w+", crlf_newline: true', '"r", universal_newline: true'].freeze
  PIPE_MODES = ["", "", "", '"utf-8"', '"iso-8859-1:utf-8"', '"utf-8", "utf-16le"', "binmode: true", '"utf-8", universal_newline: true', '"binary"'].freeze

  READS = [
    "io.gets", "io.gets", "io.gets(SEP)", "io.gets(SEP, LIM)", "io.gets(LIM)", "io.gets(chomp: true)", "io.gets(SEP, chomp: true)", "io.gets(SEP, LIM, chomp: true)",
    "io.readline", "io.readline(SEP)", "io.readline(LIM)", "io.readline(SEP, LIM)", "io.readline(chomp: true)", "io.readlines", "io.readlines(SEP)", "io.readlines(SEP, LIM)", "io.readlines(chomp: true)",
    "io.each_line { |l| break l }", "io.each_line(SEP) { |l| break l }", "io.each_line(SEP, LIM) { |l| break l }", "io.each_line(chomp: true) { |l| break l }", "io.each_line.first(2)", "io.each.with_index.first(1)",
    "[e = io.each_line, e.next, e.next]", "io.each_line.lazy.map(&:size).first(1)", "io.each_line(LIM).first(2)", "io.each_char.first(2)", "io.each_byte.first(2)", "io.each_char { |c| break c }", "io.each_byte { |b| break b }", "io.each_codepoint { |c| break c }", "[e = io.each_char, e.next, e.peek, e.next]",
    "io.getc", "io.getc", "io.readchar", "io.getbyte", "io.readbyte", 'io.ungetc("é")', 'io.ungetc("ab")', "io.ungetc(233)", "io.ungetc(nil)", "io.ungetbyte(65)", 'io.ungetbyte("xyz")', "io.ungetbyte(0x1ff)", "io.ungetbyte(nil)", 'io.ungetc("\n")', 'io.ungetc("")',
    "io.read(LEN)", "io.read(LEN)", "io.read", "io.read(LEN, buffer)", "io.read(nil, buffer)", "io.read(-1)", "[io.read(LEN, b = +\"kept\"), b]", "[(io.readpartial(LEN, b = +\"kept\") rescue $!.class), b]",
    "io.readpartial(LEN)", "io.readpartial(LEN)", "io.readpartial(LEN, buffer)", "io.readpartial(-1)", "io.read_nonblock(LEN)", "io.read_nonblock(LEN, exception: false)", "io.read_nonblock(LEN, buffer, exception: false)",
    "io.sysread(LEN)", "io.sysread(LEN, buffer)", "io.pread(LEN, 0)", "io.pread(LEN, 3, buffer)", "io.pread(2, 9999)", "io.eof?", "io.eof", "io.eof?",
    "IO.copy_stream(io, StringIO.new)", "[IO.copy_stream(io, s = StringIO.new, LEN), s.string]", "[IO.copy_stream(io, other, LEN), other.size]", "IO.copy_stream(io, other)", "IO.copy_stream(io, other, 2, 1)",
    "IO.copy_stream(io, path, LEN)", "IO.copy_stream(io, path)", "[IO.copy_stream(io, File::NULL, LEN), io.pread(1, 0)]", "io.readlines(LIM)", "IO.select([io], nil, nil, 0)&.map(&:size)", "IO.select([io], [other], nil, 0)&.map(&:size)", "!!io.wait_readable(0)", "!!io.wait(0)", "io.ready?.class", "io.nread"
  ].freeze
  MOST_PIECES = 30
  # What waits for bytes; whatever else takes its time is given none.
  FED = /\bio\.(gets|read(?!_nonblock)|each|getc|getbyte|sysread|eof|recv(?!_nonblock|msg_nonblock))|copy_stream\(io,|\$stdin = io; |while gets/.freeze

  STATES = [
    "io.lineno", "io.lineno = 5", "$.", "io.sync", "io.sync = true", "io.sync = false", "io.fsync", "io.fdatasync", "io.binmode", "io.binmode?", "io.external_encoding", "io.internal_encoding",
    "io.set_encoding(ENC)", "io.set_encoding(ENC)", "io.set_encoding_by_bom", "io.tty?", "io.closed?", "io.close_read", "io.close_write", "io.close", "io.flush", "io.pid", "io.to_io.equal?(io)", "io.autoclose?", "io.close_on_exec?",
    "io.stat.size", "io.stat.ftype", "io.fcntl(3) & 3", "d = io.dup; d.close; d.closed?", "io.advise(:normal)", "io.fileno.class", "io.isatty", "io.inspect.class",
    "$stdin = io; gets", "$stdin = io; readline", "$stdin = io; $stdin.gets(SEP)", "$stdin = io; readlines", "$stdin = io; gets(SEP, LIM)", "$stdin = io; STDIN.closed?", "$stdin = io; gets(chomp: true)", "$stdin = io; getc", "$stdin = io; ARGF.gets", "$stdin = io; ARGF.read(LEN)", "while gets; break $_; end", "($_ = \"set\"; io.gets; $_)", "$_", "$, = nil"
  ].freeze

  POSITIONS = ["io.pos", "io.tell", "io.pos = 3", "io.pos = LEN", "io.seek(LEN)", "io.seek(-2, IO::SEEK_END)", "io.seek(1, :CUR)", "io.seek(-1, IO::SEEK_CUR)", "io.rewind", "io.sysseek(LEN)", "io.sysseek(0, IO::SEEK_CUR)", "io.seek(-99)", "io.seek(0, :DATA)"].freeze

  WRITES = [
    'io.write("é\n")', 'io.write("a", 1, :b, nil)', "io.write", 'io << "x" << 3', 'io.print("p", 1)', "io.print", 'io.puts("l", ["m", ["n"]], nil)', "io.puts", 'io.puts("end\n")', "io.puts([])", "io.putc(65)", 'io.putc("éa")', "io.putc(0x141)", 'io.printf("%03d|%s", 7, "é")', "io.printf", 'io.write_nonblock("nb")', 'io.write_nonblock("nb", exception: false)', 'io.syswrite("sys")', 'io.pwrite("PW", 1)', 'io.pwrite("", 0)', 'io.write("z" * 9000)', 'io.syswrite("")', "io.syswrite(12)", 'io.write("\u20ac".encode("utf-16le"))', 'io.write("\xff")', "io.display", 'IO.copy_stream(StringIO.new("copied"), io)', 'IO.copy_stream(other, io)', "$stdout = io; puts(1, 2)", '$stdout = io; print("x", "y")', "$stdout = io; p(1, :a)", "$stdout = io; p", "$stdout = io; putc(66)", '$stdout = io; printf("%d", 4)', '$stdout = io; puts', '$stdout = io; display', '$stderr = io; warn("careful")', "io.wait_writable(0).class"
  ].freeze

  FILES = [
    "File.size(path)", "File.binread(path).sum", "io.size", "io.truncate(4)", "io.flock(File::LOCK_SH)", "io.flock(File::LOCK_EX | File::LOCK_NB)", "io.flock(File::LOCK_UN)", "File.read(path, 5, 1)", "IO.readlines(path, chomp: true).size", "File.foreach(path, SEP).first(2)", "File.write(path, \"over\", 2)", "IO.binread(path, 3)", "File.open(path) { |f| f.gets }", "io.reopen(path).class", "io.reopen(path, \"r\").class", "io.reopen(other).class", "IO.copy_stream(path, StringIO.new)", "io.path.class", "io.mtime.class", "IO.copy_stream(path, path + \".copy\")", "File.size?(path + \".copy\")", "File.read(path, mode: \"rb:utf-16le\").size", "File.readlines(path, SEP, LIM).first(3)", "Dir.children(File.dirname(path)).sort", "File.rename(path, path + \".n\"); File.rename(path + \".n\", path)", "io.chmod(0600)", "File.stat(path).size", "File.zero?(path)", "test(?s, path)", "open(path) { |f| f.readline }", "File.new(path, \"wx\")", "File.open(path + \".none\")",
    "File.new(path).then { |f| [f.gets, f.lineno, f.close] }", "File.new(path, ENC).class", "File.new(path, \"r\", external_encoding: \"iso-8859-1\").then { |f| [f.getc, f.close] }", "File.new(path, File::RDWR | File::APPEND).then { |f| [f.write(\"ap\"), f.pos, f.close] }", "File.new(path + \".new\", File::CREAT | File::EXCL | File::WRONLY, 0600).close", "File.new(File.dirname(path)).read(1)", "File.new", "File.new(path, \"q\")", "File.new(nil)", "File.new(\"a\\0b\")", "File.new(path, mode: \"rb\", flags: File::NOFOLLOW).read(LEN)", "File.new(io.fileno, autoclose: false).then { |f| [f.pread(LEN, 0)] }", "File.new(99_999)",
    "open(path, \"r+\") { |f| f.seek(LEN); f.write(\"o\") }", "open(path, \"rb\") { |f| [f.read(LEN), f.external_encoding] }", "open(path) { |f| f.each_line(SEP, LIM).first(2) }", "open(path, \"nope\")", "open", "open(nil)", "open(path, \"r\", 0600, 1)", "open(path, \"w\", 0600, external_encoding: ENC.to_s) { |f| f << \"é\" }", "open(io.to_io.path, &:gets)", "open(path, \"a\") { |f| [f.write(\"q\"), f.pos, f.flush.pos] }",
    "(n = IO.sysopen(path); i = IO.new(n); [i.read(LEN), i.close])", "IO.sysopen(path + \".none\")", "IO.sysopen", "IO.sysopen(path, \"w\", 0600).then { |n| IO.for_fd(n, \"w\").close }", "IO.sysopen(path, \"bad\")", "IO.sysopen(nil)", "IO.for_fd(IO.sysopen(path), \"w\")",
    "File.open(path) { |f| [f.flock(File::LOCK_EX), f.flock(File::LOCK_UN)] }", "io.flock(File::LOCK_EX)", "io.flock(99)", "io.flock(nil)", "io.flock", "File.open(path) { |f| f.flock(File::LOCK_EX | File::LOCK_NB) && f.flock(File::LOCK_UN) }", "io.fsync", "io.fdatasync", "io.flush.fsync", "other.fsync",
    "io.pread(LEN, LEN)", "io.pread(LEN, -1)", "io.pread(-1, 0)", "io.pread(LEN, 0, +\"kept\")", "io.pread(3, 0, \"frozen\".freeze)", "io.pread", "io.pwrite(\"é\", LEN)", "io.pwrite(\"x\", -1)", "io.pwrite(12, 0)", "io.pwrite(\"x\")", "io.pwrite(nil, 1)", "[io.pwrite(\"pw\", 0), io.pread(2, 0), io.pos]",
    "IO.copy_stream(path, other)", "IO.copy_stream(path, other, LEN)", "IO.copy_stream(path, other, LEN, 2)", "IO.copy_stream(io, path + \".copy\", LEN)", "IO.copy_stream(path + \".none\", other)", "IO.copy_stream(io, other, LEN, 0)", "IO.copy_stream(io, other, nil, 3)", "IO.copy_stream(io, other, -1)", "IO.copy_stream(other, io, LEN)", "IO.copy_stream(StringIO.new(\"sé\"), io, 2)", "IO.copy_stream(io, io)", "IO.copy_stream(io)", "IO.copy_stream(io, nil)", "IO.copy_stream(io, StringIO.new.freeze, 1)", "IO.copy_stream(io, other, 1, -1)", "File.write(path, \"é\", encoding: \"utf-16le\")", "File.write(path, \"w\", mode: \"a\")", "IO.write(path, \"iw\", LEN)", "IO.read(path, LEN, 1, encoding: \"utf-16le\")", "File.read(path, -1)", "File.foreach(path, SEP, LIM).first(2)", "File.foreach(path, 0)", "File.foreach(path, chomp: true).first(1)"
  ].freeze

  PEERS = ["peer.recv_nonblock(300, exception: false)", "peer.read_nonblock(300, exception: false)", 'peer.write("peer\n")', 'peer.syswrite("é")', "peer.close", "peer.close_write", "peer.closed?", "peer.flush"].freeze

  SOCKETS = [
    "io.recv(LEN)", "io.recv(LEN, 0, buffer)", "io.recv(LEN, Socket::MSG_PEEK)", "io.recv_nonblock(LEN, exception: false)", "io.recv_nonblock(LEN)", "io.recvfrom(LEN).first", "io.recvmsg.first", "io.recvmsg(LEN).first", "io.recvmsg_nonblock(LEN, exception: false).then { |m| m.is_a?(Array) ? m.first : m }", 'io.send("sent", 0)', 'io.send("", 0)', 'io.sendmsg("msg")', 'io.sendmsg_nonblock("nbmsg")', "io.shutdown", "io.shutdown(:WR)", "io.shutdown(0)", "io.shutdown(9)", "io.getsockopt(:SOCKET, :KEEPALIVE).bool", "io.setsockopt(:SOCKET, :KEEPALIVE, true)", "io.local_address.afamily", "io.remote_address.pfamily", "io.do_not_reverse_lookup", "io.do_not_reverse_lookup = true", "io.getpeername.class", "io.send(1, 0)", "io.send", "io.addr.first", "io.peeraddr.first", "io.recv(-1)", "io.recv", "io.connect_address.class",
    "io.recvfrom(LEN).then { |m, a| [m, a.class] }", "io.recvfrom(0)", "io.recvmsg_nonblock(LEN, Socket::MSG_PEEK, exception: false).then { |m| m.is_a?(Array) ? m.first : m }", "io.recv_nonblock(LEN, Socket::MSG_PEEK, exception: false)", "io.recvfrom_nonblock(LEN, exception: false).then { |m| m.is_a?(Array) ? m.first : m }", "io.recv(0)", "io.recv(LEN, Socket::MSG_DONTWAIT)", "io.sendmsg(\"m\", 0, nil)", "io.send(\"oob\", Socket::MSG_DONTWAIT)", "io.shutdown(:RD)", "io.shutdown(:RDWR)"
  ].freeze

  KINDS = { "file" => [READS, READS, STATES, POSITIONS, WRITES, FILES], "pipe" => [READS, READS, READS, STATES, PEERS, WRITES],
            "unix" => [READS, READS, STATES, SOCKETS, WRITES, PEERS], "tcp" => [READS, READS, STATES, SOCKETS, WRITES, PEERS] }.freeze

  def initialize(seed, kept)
    @random = Random.new(seed)
    @kind = pick(KINDS.keys)
    @mode = @kind == "file" ? pick(FILE_MODES) : pick(PIPE_MODES)
    @text = Array.new(@random.rand(0..30)) { (@random.rand < 0.01 ? pick(LONG) : pick(TEXTS)) * @random.rand(1..2) }.map(&:b).join
    @pieces = cut(@text)
    @steps = Array.new(@random.rand(3..14)) { step }
    @steps = kept.map { |number| @steps.fetch(number) } if kept
  end

  def run(transcript)
    transcript.say("setup", "#{@kind} #{@mode} #{@pieces.map { |piece| piece.size > 80 ? piece.size : piece.inspect }.join(" ")}")
    Dir.mktmpdir("parity") do |directory|
      prepare(directory)
      perform(transcript)
      transcript.say("files", Dir.children(directory).sort.map { |name| "#{name} #{contents(File.join(directory, name))}" }.join("; "))
    end
  end

  def inspect = "#<Streams>"
  alias to_s inspect

  private

  def pick(things) = things[@random.rand(things.size)]

  def cut(text)
    most = pick([1, 3, 12, 40, 30_000])
    pieces = []
    pieces << text.slice!(0, @random.rand(1..most)) until text.empty? || pieces.size == MOST_PIECES
    pieces << text unless text.empty?
    pieces
  end

  def step
    words = { "SEP" => pick(SEPARATORS), "LIM" => pick(LIMITS), "LEN" => pick(LENGTHS), "ENC" => pick(ENCODINGS) }
    source = pick(pick(KINDS.fetch(@kind))).gsub(/\b(SEP|LIM|LEN|ENC)\b/) { |word| words[word].to_s }
    Step.new(source, pick([0, 0, 1, 1, 2, 5]), source.match?(FED))
  end

  def prepare(directory)
    @path = File.join(directory, "file")
    File.binwrite(@path, @kind == "file" ? @pieces.join : "")
    @other = File.open(File.join(directory, "other"), "w+b")
    @io, @peer = public_send(:"open_#{@kind}")
    @feeder = Feeder.new(@io, @peer, @pieces) unless @kind == "file"
  end

  public

  def open_file = eval("[File.open(@path, #{@mode}), nil]", binding, __FILE__, __LINE__)
  def open_pipe = eval("IO.pipe(#{@mode})", binding, __FILE__, __LINE__)
  def open_unix = UNIXSocket.pair

  def open_tcp
    server = TCPServer.new("127.0.0.1", 0)
    peer = TCPSocket.new("127.0.0.1", server.addr[1])
    peer.setsockopt(:TCP, :NODELAY, true)
    [server.accept, peer]
  ensure
    server&.close
  end

  private

  def perform(transcript)
    place = binding_of_calls(@io, @peer, @path, @other, +"buffer")
    standard = [$stdin, $stdout, $stderr]
    @steps.each do |step|
      transcript.doing = step.source
      transcript.say(step.source, take(step, place))
      $stdin, $stdout, $stderr = standard
    end
    transcript.say("end", "#{Transcript.answer { @io.pos if @kind == "file" }} #{Transcript.answer { @io.close }}")
  ensure
    [@io, @peer, @other].each { |io| close(io) }
    @feeder&.stop
  end

  # The frame whose `$_` the steps see.
  def binding_of_calls(io, peer, path, other, buffer)
    $_ = nil
    $. = 0
    binding
  end

  def take(step, place)
    step.pieces.times { @feeder&.give }
    answer = Transcript.answer { fed(step) { eval(step.source, place, "(step)", 1) } }
    "#{answer} | #{state(place)}"
  end

  def fed(step, &block) = @feeder && step.starves ? @feeder.during(&block) : yield

  def state(place)
    lineno = Transcript.answer { @io.lineno }
    "lineno #{lineno} $_ #{Transcript.word(eval("$_", place))} $. #{$.} buffer #{Transcript.word(place.local_variable_get(:buffer))}"
  end

  def close(io)
    io&.close
  rescue IOError, SystemCallError
    nil # what it still had to say, nobody hears
  end

  def contents(path)
    bytes = File.binread(path)
    bytes.size > 200 ? "#{bytes.size}/#{bytes.hash_of}" : bytes.inspect
  end
end
