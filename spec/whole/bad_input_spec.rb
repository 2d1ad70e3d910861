# frozen_string_literal: true

require "stringio"
require "zlib"

# Bad input and hard times: a clear exception, nothing lost, nothing hung.
RSpec.describe "Bad input" do
  everywhere "the main fiber", "a spun fiber" do
    it "from closed descriptors is an IOError" do
      reader, writer = pipe
      [reader, writer].each(&:close)
      expect { reader.read }.to raise_error IOError, "closed stream"
      expect { reader.gets }.to raise_error IOError, "closed stream"
      expect { reader.wait_readable }.to raise_error IOError, "closed stream"
      expect { writer.write("x") }.to raise_error IOError, "closed stream"
      server = listen
      server.close
      expect { server.accept }.to raise_error IOError, "closed stream"
      expect { IO.select([reader]) }.to raise_error IOError, "closed stream"
    end

    it "from a descriptor that was closed behind Ruby's back is EBADF" do
      reader, writer = IO.pipe
      copy = IO.for_fd(reader.fileno, autoclose: false)
      reader.close
      expect { copy.read }.to raise_error(Errno::EBADF)
      writer.close
    end

    it "in sizes is refused" do
      reader, = pipe
      expect { reader.read(-1) }.to raise_error ArgumentError
      expect { reader.readpartial(-1) }.to raise_error ArgumentError
      expect { reader.read(1 << 70) }.to raise_error RangeError
      expect { reader.readpartial("1") }.to raise_error TypeError
      server, = tcp_pair
      expect { server.recv(-1) }.to raise_error ArgumentError
    end

    it "in frozen buffers is refused, and the bytes are there for the next" do
      reader, writer = pipe
      writer << "kept"
      expect { reader.readpartial(4, "frozen") }.to raise_error FrozenError
      expect { reader.read(4, "frozen") }.to raise_error FrozenError
      expect(reader.readpartial(4)).to eq "kept"
    end

    it "in buffers is refused before anything is waited for" do
      reader, = pipe
      socket, = unix_pair
      { read: [4, 7], readpartial: [4, 7], sysread: [4, 7], read_nonblock: [4, 7] }.each do |verb, arguments|
        expect { reader.public_send(verb, *arguments) }.to raise_error TypeError, "no implicit conversion of Integer into String"
      end
      expect { reader.read(4, "frozen") }.to raise_error FrozenError
      expect { reader.readpartial(4, "frozen") }.to raise_error FrozenError
      expect { socket.recv(4, 0, 7) }.to raise_error TypeError
      expect { socket.recvfrom("4") }.to raise_error TypeError
    end
  end

  it "in receive buffers is refused, and the bytes are there for the next" do
    server, client = tcp_pair
    client.write("kept")
    expect { server.recv(4, 0, "frozen") }.to raise_error FrozenError
    expect(server.recv(4)).to eq "kept"
  end

  it "in timeouts is refused" do
    expect { Timeout.timeout("1") { nil } }.to raise_error(StandardError)
    expect { cancel_after(-1) { nil } }.to raise_error ArgumentError
  end

  it "in place of a block, of a parent or of an exception is refused, and says for what" do
    fiber = spin { suspend }
    { spin_loop: [], after: [1], move_on_after: [1], cancel_after: [1] }.each do |verb, arguments|
      expect { __send__(verb, *arguments) }.to raise_error ArgumentError, "#{verb} needs a block to run"
    end
    expect { every("x") { nil } }.to raise_error ArgumentError, 'every needs an interval above zero, not "x"'
    expect { fiber.attach_to(3) }.to raise_error TypeError, "only a Fiber can be a parent, not Integer"
    expect { fiber.cancel(3) }.to raise_error TypeError, "exception class/object expected"
    fiber.stop
    fiber.await
  end

  it "in fibers that have ended, or are none that can be scheduled, is refused" do
    ended = spin { nil }
    ended.await
    expect { ended.spin { nil } }.to raise_error FiberError, /has ended: it can have no children/
    expect([ended.detach, Fiber.current.add_child(ended).children]).to eq [ended, []]
    expect { Fiber.new { nil }.spin { nil } }.to raise_error FiberError, /made by Fiber.new and never spun/
    expect { Fiber.new { nil }.tap(&:resume).setup_raw }.to raise_error FiberError, /has ended/
    expect { Fiber.current.spin(:tag, 3) { nil } }.to raise_error TypeError, "a caller is an Array of lines, not Integer"
    # It was adopted twice, and then nobody could end it.
    spun = spin { suspend }
    expect(spun.setup_raw).to equal spun
    expect(spun.stop.await).to be_nil
    # What is held up is ended all the same.
    held = spin { suspend }.__park__
    expect(held.terminate.await).to be_nil
  end

  # They went round for ever, and gave nobody a turn.
  it "in limits of nothing is refused by every loop" do
    reader, writer = pipe
    writer << "text"
    expect { reader.readlines(0.5) }.to raise_error ArgumentError, "invalid limit: 0 for readlines"
    expect { reader.each_line("x", 0.5) { nil } }.to raise_error ArgumentError, "invalid limit: 0 for each_line"
    expect { reader.gets_loop(0) { nil } }.to raise_error ArgumentError, "invalid limit: 0 for gets_loop"
    expect { reader.read_loop(0) { nil } }.to raise_error ArgumentError, "invalid limit: 0 for read_loop"
    expect { IO.foreach(__FILE__, 0) { nil } }.to raise_error ArgumentError, "invalid limit: 0 for foreach"
    expect(reader.readpartial(9)).to eq "text"
  end

  it "in pools and supervisors is refused, and says what is wanted" do
    [0, -1, "x", Float::NAN, nil].each do |limit|
      expect { Polyphony::ResourcePool.new(limit: limit) { 1 } }
        .to raise_error ArgumentError, "a pool needs a limit above zero, not #{limit.inspect}"
    end
    [0, 1.5, "x", nil].each do |size|
      expect { Polyphony::ThreadPool.new(size) }.to raise_error ArgumentError, "a pool needs a thread at least, not #{size.inspect}"
    end
    expect { supervise(3) }.to raise_error TypeError, "only a Fiber can be supervised, not Integer"
    expect { supervise(on_done: 3) }.to raise_error TypeError, "on_done is something to call, not 3"
  end

  it "with a NUL in a path, a name or a command is an ArgumentError" do
    [-> { IO.read("a\0b") }, -> { IO.foreach("a\0b") { nil } }, -> { IO.copy_stream("a\0b", File::NULL) },
     -> { UNIXSocket.new("a\0b") }, -> { UNIXServer.new("a\0b") }, -> { IO.popen("a\0b") }, -> { system("a\0b") }, -> { `a\0b` },
     -> { TCPSocket.new("a\0b", 80) }, -> { Addrinfo.tcp("localhost", "8\0") }].each do |given|
      expect(&given).to raise_error ArgumentError, /null byte/
    end
  end

  describe "in compressed data" do
    def compressed(text) = pipe.then { |reader, writer| spin { writer << text; writer.close }; reader }

    whole = Zlib.gzip("polyphony " * 100)
    flipped = ->(place) { whole.dup.tap { |data| data.setbyte(place, data.getbyte(place) ^ 255) } }
    {
      "nothing at all" => ["", Zlib::GzipFile::Error], "text" => ["polyphony", Zlib::GzipFile::Error],
      "half a header" => [whole[0, 5], Zlib::GzipFile::Error], "half of the data" => [whole[0, 24], Zlib::GzipFile::Error],
      "half a footer" => [whole[0..-4], Zlib::GzipFile::NoFooter], "another sum" => [flipped.(-6), Zlib::GzipFile::CRCError],
      "another length" => [flipped.(-1), Zlib::GzipFile::LengthError]
    }.each do |what, (data, error)|
      it("#{what} is #{error} from gunzip") { expect { IO.gunzip(compressed(data), StringIO.new) }.to raise_error error }
    end

    it "is refused by inflate, too" do
      whole = Zlib.deflate("polyphony " * 100)
      { "" => Zlib::BufError, whole[0..-3] => Zlib::BufError, "polyphony" => Zlib::DataError }.each do |data, error|
        expect { IO.inflate(compressed(data), StringIO.new) }.to raise_error error
      end
    end
  end

  # What a callback raises comes to whoever called, or supervises it; what was waited for is there afterwards.
  describe "of a block that raises" do
    def failing = proc { raise IOError, "the block" }
    def text = pipe.then { |reader, writer| writer << "one\ntwo\n"; writer.close; reader }

    {
      "gets_loop" => -> { text.gets_loop(&failing) }, "read_loop" => -> { text.read_loop(&failing) },
      "each_line" => -> { text.each_line(&failing) }, "each_char" => -> { text.each_char(&failing) },
      "feed_loop" => -> { text.feed_loop(failing) }, "foreach" => -> { IO.foreach(__FILE__, &failing) },
      "every" => -> { every(0.001, &failing) }, "throttled_loop" => -> { throttled_loop(1000, &failing) },
      "spin_loop" => -> { spin_loop(&failing).await }, "after" => -> { after(0.001, &failing).await },
      "spin_scope" => -> { spin_scope(&failing) }, "move_on_after" => -> { move_on_after(1, &failing) },
      "cancel_after" => -> { cancel_after(1, &failing) }, "Timeout" => -> { Timeout.timeout(1, &failing) },
      "shield" => -> { Polyphony.shield(&failing) }, "Timer" => -> { Polyphony::Timer.new.every(0.001, &failing) },
      "Throttler" => -> { Polyphony::Throttler.new(1000).call(&failing) },
      "ResourcePool" => -> { Polyphony::ResourcePool.new(&failing).acquire { nil } },
      "acquire" => -> { Polyphony::ResourcePool.new { 1 }.acquire(&failing) },
      "ThreadPool" => -> { Polyphony::ThreadPool.process(&failing) },
      "receive_loop" => -> { spin { receive_loop(&failing) }.tap { |fiber| fiber << 1 }.await },
      "supervise" => -> { spin { supervise(spin { 1 }, &failing) }.await },
      "on_done" => -> { spin { supervise(spin { 1 }, on_done: failing) }.await },
      "on_error" => -> { spin { supervise(spin { raise "child" }, on_error: failing) }.await },
      "synchronize" => -> { Mutex.new.synchronize(&failing) },
      "splice_chunks" => -> { Thread.current.backend.splice_chunks(text, pipe.last, nil, nil, failing, nil, 10) }
    }.each do |name, call|
      it "is raised by #{name}" do
        threads = -> { (Thread.list - [Polyphony::Overdue.thread]).size }
        before = threads.call
        expect { instance_exec(&call) }.to raise_error IOError, "the block"
        Polyphony::ThreadPool.reset
        expect([Fiber.current.children, Thread.current.backend.stats[:timers], threads.call]).to eq [[], 0, before]
      end
    end

    it "leaves the lines behind the one it was given" do
      reader = text
      expect { reader.gets_loop(&failing) }.to raise_error IOError
      expect(reader.gets).to eq "two\n"
    end
  end

  it "in scheduler options is refused, and says what there is" do
    expect { Thread.new { Thread.current.report_on_exception = false; Polyphony.scheduler!(backend: "kqueue") }.value }
      .to raise_error ArgumentError, /kqueue/
  end
end

RSpec.describe "Hard times" do
  everywhere "the main fiber", "a spun fiber" do
    it "with no room on the device: every way to write says ENOSPC, and where" do
      full = closing(File.open("/dev/full", "w"))
      full.sync = true
      expect { full.write("x") }.to raise_error Errno::ENOSPC, "No space left on device @ io_write - /dev/full"
      [-> { full.puts("x") }, -> { full.print("x") }, -> { full << "x" }, -> { full.syswrite("x") }, -> { full.write_nonblock("x") },
       -> { IO.write("/dev/full", "x") }, -> { IO.copy_stream(StringIO.new("x"), full) }].each do |write|
        expect(&write).to raise_error Errno::ENOSPC
      end
      full.sync = false
      full << "x"
      expect { full.flush }.to raise_error Errno::ENOSPC
      expect { full.close }.to raise_error Errno::ENOSPC
    end

    it "with a peer that resets in the middle of a line: gets says so, and the half is there" do
      server, client = tcp_pair
      server.write("half a line")
      # Since 3.4 others run while Ruby closes.
      fiber = spin { client.gets rescue $!.class }
      snooze until client.wait_readable
      server.setsockopt(Socket::Option.linger(true, 0))
      server.close
      expect(fiber.await).to eq Errno::ECONNRESET
      expect(client.read_nonblock(20)).to eq "half a line"
    end

    it "with a peer that sends a byte at a time: the line is one, and the others run" do
      reader, writer = unix_pair
      peer = spin { "a whole line\n".each_char { |char| writer << char; snooze } }
      expect([reader.gets, peer.await]).to eq ["a whole line\n", "a whole line\n"]
    end
  end

  it "in a storm of signals: nothing is interrupted, and every byte arrives" do
    out = Child.ruby!(<<~RUBY)
      heard = 0
      trap(:USR1) { heard += 1 }
      reader, writer = IO.pipe
      storm = Thread.new { 300.times { Process.kill(:USR1, Process.pid); Thread.pass } }
      copier = spin { 200.times { |number| writer.write("\#{number} " + "x" * 5_000 + "\n"); snooze }; writer.close }
      lines = reader.each_line.map { |line| [line.to_i, line.size] }
      copier.await
      storm.join
      snooze
      puts lines.map(&:first) == (0...200).to_a, lines.sum(&:last) == 200 * 5_002 + 490, heard.positive?
    RUBY
    expect(out).to eq "true\ntrue\ntrue\n"
  end

  it "without descriptors: accept says EMFILE, and the server lives on" do
    out = Child.ruby!(<<~RUBY)
      require "socket"
      server = TCPServer.new("127.0.0.1", 0)
      Polyphony.scheduler!
      served = Queue.new
      refused = 0
      spin do
        loop do
          connection = server.accept
          spin { connection.write(connection.gets); connection.close; served << true }
        rescue Errno::EMFILE, Errno::ENFILE
          refused += 1
          sleep 0.001
        end
      end
      client = TCPSocket.new("127.0.0.1", server.addr[1])
      snooze
      Process.setrlimit(:NOFILE, Dir.children("/proc/self/fd").size + 8)
      hogs = []
      begin
        loop { hogs << File.open("/dev/null") }
      rescue Errno::EMFILE
        hogs.pop.close
      end
      late = TCPSocket.new("127.0.0.1", server.addr[1])
      sleep 0.001 until refused.positive?
      hogs.each(&:close)
      [client, late].each { |socket| socket.puts "hello"; print socket.gets }
      puts refused.positive?
      $stdout.flush
      exit!(0)
    RUBY
    expect(out).to eq "hello\nhello\ntrue\n"
  end

  it "without descriptors for a ring: starting says so" do
    out = Child.ruby!(<<~RUBY, env: { "POLYPHONY_BACKEND" => ENV.fetch("POLYPHONY_BACKEND", "io_uring") })
      Process.setrlimit(:NOFILE, 32)
      hogs = []
      begin
        loop { hogs << File.open("/dev/null") }
      rescue Errno::EMFILE
        nil
      end
      begin
        spin { nil }
      rescue SystemCallError => e
        puts e.class
      end
    RUBY
    expect(out).to eq "Errno::EMFILE\n"
  end

  # A filter on system calls says EPERM to io_uring_setup, as containers do.
  REFUSE = <<~'RUBY'
    require "fiddle"
    prctl = Fiddle::Function.new(Fiddle.dlopen(nil)["prctl"], [Fiddle::TYPE_LONG] * 5, Fiddle::TYPE_INT)
    filter = [[0x20, 0, 0, 0], [0x15, 0, 1, 425], [0x06, 0, 0, 0x00050001], [0x06, 0, 0, 0x7fff0000]]
    filter = filter.map { |instruction| instruction.pack("SCCL") }.join
    program = [4, Fiddle::Pointer[filter].to_i].pack("Sx6Q")
    abort "no filter" unless prctl.call(38, 1, 0, 0, 0).zero? && prctl.call(22, 2, Fiddle::Pointer[program].to_i, 0, 0).zero?
  RUBY

  it "where io_uring is refused: epoll serves, and one line says so" do
    out, err, = Child.ruby("#{REFUSE}\nThread.new { spin { nil }.await }.join\nputs spin { sleep 0.001; Thread.current.backend.kind }.await",
                           env: { "POLYPHONY_BACKEND" => "auto" })
    expect(out).to eq "epoll\n"
    expect(err.lines.size).to eq 1
    expect(err).to include("io_uring").and include("POLYPHONY_BACKEND=epoll")
  end

  it "where io_uring is refused and nothing else is wanted: starting says so" do
    out = Child.ruby!("#{REFUSE}\nbegin; spin { nil }; rescue SystemCallError => e; puts e.class; end",
                      env: { "POLYPHONY_BACKEND" => "io_uring" })
    expect(out).to eq "Errno::EPERM\n"
  end

  it "with no memory to lock: it works, or says so" do
    out, err, status = Child.ruby(<<~RUBY, before: ["prlimit", "--memlock=0:0"])
      puts spin { sleep 0.001; :works }.await
    RUBY
    expect([out, status.success?]).to eq(["works\n", true]), err
  end

  it "with more fibers than Ruby can start: the last one's error names the limit, and the others go on" do
    # Large stacks: where the last one does not fit, there is room for everything else.
    out = Child.ruby!(<<~'RUBY', env: { "RUBY_FIBER_MACHINE_STACK_SIZE" => "8388608" }, before: ["prlimit", "--as=4000000000"])
      started = []
      refused = []
      begin
        20_000.times do
          spin { started << Fiber.current; suspend }
          snooze
        end
      rescue Polyphony::FiberError => e
        refused << e.message
      end
      started.each { |fiber| fiber.schedule(nil) }
      started.each(&:await)
      puts refused.size, refused.join[/vm\.max_map_count .*/], started.size > 100, started.none?(&:alive?)
    RUBY
    expect(out).to match(/\A1\nvm.max_map_count .*let fewer wait at once, .* or raise it with sysctl\.\ntrue\ntrue\n\z/)
  end

  it "in a child of a fork, nothing in flight belongs to the child" do
    reader, writer = pipe
    waiting = spin { reader.readpartial(10) }
    2.times { snooze }
    answer = Child.forked do
      mine, theirs = IO.pipe
      theirs << "child"
      [mine.readpartial(10), Thread.current.backend.stats[:pending_ops]]
    end
    expect(answer).to eq ["child", 0]
    writer << "parent"
    expect(waiting.await).to eq "parent"
  end
end
