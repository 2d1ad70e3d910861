# frozen_string_literal: true

require "openssl"
require "socket"
require "tempfile"
require "zlib"

# What no method expects, and what has methods: for the program that throws the one at the other.
#
# Everything is made anew for each call, by a block, under a name that can be printed: most of it must not be
# asked for a description.
module Nonsense
  # Raises whatever it is asked to become.
  class Hostile
    %i[to_str to_int to_i to_f to_a to_ary to_hash to_proc to_io to_path to_s to_sym hash coerce <=> == call].each do |name|
      define_method(name) { |*| raise IOError, "hostile #{name}" }
    end
  end

  # Becomes what nobody asked for.
  class Liar
    %i[to_str to_int to_ary to_hash to_proc to_io to_path].each { |name| define_method(name) { :lie } }
  end

  class Text < String; end
  class Number < Numeric; end

  CYCLE = [].tap { |array| array << array }.freeze
  CLOSED = IO.pipe.each(&:close).first

  # Descriptors that a call was given or has made, to be closed after it.
  OPEN = [] # rubocop:disable Style/MutableConstant
  DIRECTORIES = [] # rubocop:disable Style/MutableConstant

  class << self
    def pipe = IO.pipe.tap { |ends| OPEN.concat(ends) }

    # A string that nobody may change for as long as the call lasts: its lock goes with its reader.
    def locked
      text = +"locked locked locked"
      reader = pipe.first
      spin { reader.sysread(4, text) }
      text
    end

    # A fiber that waits in another thread, which ends when it has.
    def fiber_elsewhere
      there = Thread::Queue.new
      thread = Thread.new do
        Thread.current.report_on_exception = false
        there << spin { sleep }
        END_OF_THREADS.pop
      end
      ELSEWHERE << thread
      there.pop
    end

    # Waits for its end, whatever that is.
    def finish(thread)
      thread.join
    rescue SignalException
      raise
    rescue Exception # rubocop:disable Lint/RescueException
      nil
    end

    def release
      OPEN.each { |io| io.close unless io.closed? }
      DIRECTORIES.each(&:close)
      THREADS.each(&:kill).each { |thread| finish(thread) }
      ELSEWHERE.each { END_OF_THREADS << true }.each { |thread| finish(thread) }
      Polyphony::ThreadPool.instance_variable_set(:@default, nil)
      (Thread.list - NEEDED).each { |thread| finish(thread.kill) }
      [OPEN, DIRECTORIES, THREADS, ELSEWHERE, END_OF_THREADS].each(&:clear)
    end
  end

  # Threads to be killed after the call, and those with fibers, which end when they are told to.
  THREADS = [] # rubocop:disable Style/MutableConstant
  ELSEWHERE = [] # rubocop:disable Style/MutableConstant
  NEEDED = Thread.list
  END_OF_THREADS = Thread::Queue.new

  VALUES = {
    "nil" => -> { nil }, "true" => -> { true }, "false" => -> { false }, "0" => -> { 0 }, "1" => -> { 1 }, "-1" => -> { -1 },
    "64" => -> { 64 }, "1000" => -> { 1000 }, "2**31" => -> { 2**31 }, "-2**63" => -> { -2**63 }, "2**64" => -> { 2**64 },
    "2**70" => -> { 2**70 }, "1.5" => -> { 1.5 }, "-0.1" => -> { -0.1 }, "0.001" => -> { 0.001 }, "NaN" => -> { Float::NAN },
    "Infinity" => -> { Float::INFINITY }, "-Infinity" => -> { -Float::INFINITY }, "1e300" => -> { 1e300 },
    "3r" => -> { 3r }, "1i" => -> { 1i }, "Number.new" => -> { Number.new },
    '""' => -> { +"" }, '"text"' => -> { +"text" }, "frozen" => -> { "frozen" }, "broken" => -> { +"\xff\xfe" },
    "UTF-16" => -> { "text".encode("UTF-16LE") }, "NUL" => -> { +"a\0b" }, "locked" => -> { locked }, "Text" => -> { Text.new("text") },
    ":symbol" => -> { :symbol }, ":read" => -> { :read }, "[]" => -> { [] }, "[1, nil, 'x']" => -> { [1, nil, "x"] },
    "[[]]" => -> { [[]] }, "cycle" => -> { CYCLE }, "{}" => -> { {} }, "{ 1 => 2 }" => -> { { 1 => 2 } },
    "Object" => -> { Object.new }, "BasicObject" => -> { BasicObject.new }, "hostile" => -> { Hostile.new }, "liar" => -> { Liar.new },
    "Class" => -> { Class }, "RuntimeError" => -> { RuntimeError }, "an error" => -> { RuntimeError.new("given") },
    "closed IO" => -> { CLOSED }, "reader" => -> { pipe.first }, "writer" => -> { pipe.last }, "a descriptor" => -> { pipe.first.fileno },
    "allocated IO" => -> { IO.allocate }, "allocated Fiber" => -> { Fiber.allocate }, "allocated Thread" => -> { Thread.allocate },
    "allocated Proc" => -> { Method.instance_method(:call) }, "a fiber" => -> { spin { suspend } }, "a dead fiber" => -> { spin { 1 }.tap(&:await) },
    "a fiber of no one" => -> { Fiber.new { 1 } }, "a fiber elsewhere" => -> { fiber_elsewhere }, "the fiber" => -> { Fiber.current },
    "a dead thread" => -> { Thread.new { nil }.tap(&:join) }, "a raising proc" => -> { proc { raise "block" } },
    "a proc" => -> { proc { |value| value } }, "a lambda" => -> { ->(one, two) { [one, two] } }, "1..2" => -> { 1..2 }, "1.." => -> { 1.. },
    "Time" => -> { Time.now }, "a Queue" => -> { Queue.new }, "a Mutex" => -> { Mutex.new }
  }.freeze

  BLOCKS = {
    "" => nil, "{ raise }" => proc { raise "block" }, "{ 1 }" => proc { 1 }, "{ throw }" => proc { |*| throw :nobody },
    "{ |a| a }" => proc { |a| a }, "->(a, b) {}" => lambda { |_a, _b| 1 }, "{ snooze }" => proc { snooze },
    "{ sleep }" => proc { sleep }, "{ raise StopIteration }" => proc { raise StopIteration }, "{ exit }" => proc { exit },
    "{ stop }" => proc { Fiber.current.stop }, "{ spin }" => proc { spin { suspend } }
  }.freeze

  KEYWORDS = %i[timeout chomp exception graceful grace within with_value with_exception rate interval count limit restart
                on_done on_error cause storage nonsense].freeze

  PATH = Tempfile.create("nonsense").tap { |file| file << "one\ntwo\n"; file.close }.path

  RECEIVERS = {
    "a Fiber" => -> { spin { suspend } }, "the Fiber" => -> { Fiber.current }, "dead Fiber" => -> { spin { 1 }.tap(&:await) },
    "raw Fiber" => -> { Fiber.new { 1 } }, "Fiber elsewhere" => -> { fiber_elsewhere }, "parent Fiber" => -> { spin { spin { suspend }; suspend }.tap { snooze } },
    "Event" => -> { Polyphony::Event.new }, "Channel" => -> { Polyphony::Channel.new }, "ResourcePool" => -> { Polyphony::ResourcePool.new(limit: 1) { +"r" } },
    "ThreadPool" => -> { Polyphony::ThreadPool.new(1).tap { |pool| THREADS.concat(pool.instance_variable_get(:@threads)) } },
    "Throttler" => -> { Polyphony::Throttler.new(1000) }, "Timer" => -> { Polyphony::Timer.new }, "Pipe" => -> { Polyphony::Pipe.new.tap { |pipe| OPEN << pipe << pipe.__reader__ } },
    "RawBuffer" => -> { Polyphony::RawBuffer.new(8) }, "Canceller" => -> { cancel_after(1) { |canceller| break canceller } },
    "MoveOn" => -> { Polyphony::MoveOn.new }, "Interjection" => -> { Polyphony::Interjection.new(proc { 1 }) },
    "scheduler" => -> { Thread.current.backend }, "fiber scheduler" => -> { Fiber.scheduler },
    "Queue" => -> { Queue.new }, "full Queue" => -> { Queue.new([1, 2, 3]) }, "SizedQueue" => -> { SizedQueue.new(1) },
    "full SizedQueue" => -> { SizedQueue.new(1) << 1 }, "closed Queue" => -> { Queue.new.close },
    "Mutex" => -> { Mutex.new }, "locked Mutex" => -> { Mutex.new.tap { |mutex| spin { mutex.synchronize { sleep } }; snooze } },
    "ConditionVariable" => -> { ConditionVariable.new }, "Monitor" => -> { Monitor.new },
    "reader" => -> { pipe.tap { |_, writer| writer << "line\nrest" }.first }, "empty reader" => -> { pipe.first }, "writer" => -> { pipe.last },
    "ended reader" => -> { pipe.tap { |_, writer| writer.close }.first }, "broken writer" => -> { pipe.tap { |reader, _| reader.close }.last },
    "closed IO" => -> { IO.pipe.each(&:close).first }, "File" => -> { File.open(PATH, "r+").tap { |file| OPEN << file } },
    "Dir" => -> { Dir.new(".").tap { |directory| DIRECTORIES << directory } },
    "UNIXSocket" => -> { UNIXSocket.pair.tap { |pair| OPEN.concat(pair) }.first },
    "UNIXServer" => -> { UNIXServer.new("\0nonsense#{Process.pid}").tap { |server| OPEN << server } },
    "UDPSocket" => -> { UDPSocket.new.tap { |socket| OPEN << socket; socket.bind("127.0.0.1", 0) } },
    "Socket" => -> { Socket.new(:INET, :STREAM).tap { |socket| OPEN << socket } },
    "TCPServer" => -> { TCPServer.new("127.0.0.1", 0).tap { |server| OPEN << server } },
    "TCPSocket" => lambda {
      server = TCPServer.new("127.0.0.1", 0)
      OPEN << server << (socket = TCPSocket.new("127.0.0.1", server.addr[1]))
      socket
    },
    "SSLSocket" => -> { OpenSSL::SSL::SSLSocket.new(UNIXSocket.pair.tap { |pair| OPEN.concat(pair) }.first) },
    "SSLServer" => -> { OpenSSL::SSL::SSLServer.new(TCPServer.new("127.0.0.1", 0).tap { |server| OPEN << server }, OpenSSL::SSL::SSLContext.new) },
    "Thread" => -> { Thread.new { sleep }.tap { |thread| THREADS << thread; thread.report_on_exception = false } },
    "error" => -> { RuntimeError.new("given") }, "Object" => -> { Object.new },
    "Addrinfo" => -> { Addrinfo.tcp("127.0.0.1", 1) }
  }.freeze

  # Classes of Ruby's that learn something, by themselves: their functions.
  CLASSES = [IO, File, FileTest, Fiber, Thread, Process, Timeout, Socket, Addrinfo, IPSocket, TCPSocket, Exception, Process::Status, Kernel, Dir, Zlib].freeze
end
