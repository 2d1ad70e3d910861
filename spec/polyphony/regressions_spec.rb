# frozen_string_literal: true

require "tempfile"

# Bugs that Polyphony 1 and its peers had, which no other file's subject covers.
RSpec.describe "What others had to fix" do
  everywhere "the main fiber", "a spun fiber" do
    it "waits for any child, for one of a group, for all, and says ECHILD where there is none" do
      expect { Process.wait }.to raise_error Errno::ECHILD
      expect(Process.waitall).to eq []
      any = fork { exit!(4) }
      expect([Process.wait(-1), $?.exitstatus]).to eq [any, 4]
      reader, writer = pipe
      grouped = fork { Process.setpgid(0, 0); writer.syswrite("x"); exit!(5) }
      reader.readpartial(1)
      expect([Process.wait(-grouped), $?.exitstatus]).to eq [grouped, 5]
      3.times { |status| fork { exit!(status) } }
      expect(Process.waitall.map { |_, status| status.exitstatus }).to contain_exactly(0, 1, 2)
    end

    it "tells a child that lives from none, where it may not wait, and which signal ended one" do
      pid = fork { sleep }
      expect(Process.wait(pid, Process::WNOHANG)).to be_nil
      spin { Process.kill(:KILL, pid) }
      expect(Process.wait2(pid).last.termsig).to eq 9
    end

    it "waits for many short children, whose pids and descriptors are used again" do
      statuses = Array.new(24) { |number| spin { Process.wait2(fork { exit!(number) }).last.exitstatus } }
      expect(statuses.map(&:await)).to eq [*0...24]
    end

    it "says nil where a wait for readiness runs out of time" do
      reader, writer = pipe
      waits = [-> { reader.wait_readable(0.001) }, -> { reader.wait(0.001) }, -> { IO.select([reader], nil, nil, 0.001) },
               -> { IO.select(nil, nil, nil, 0.001) }, -> { IO.select([], [], [], 0) }]
      expect(waits.map(&:call)).to eq [nil] * waits.size
      expect([writer.wait_writable(1), IO.select([reader], [writer], [reader], 1)]).to eq [writer, [[], [writer], []]]
    end

    it "takes no time for infinitely long or for none" do
      [Float::NAN, -Float::INFINITY].each do |time|
        expect { sleep(time) }.to raise_error ArgumentError
        expect { move_on_after(time) { nil } }.to raise_error ArgumentError
      end
      expect(move_on_after(Float::INFINITY) { :in_time }).to eq :in_time
    end

    it "does not end a wait by what woke an earlier one too late" do
      lock = Mutex.new
      lock.lock
      reader, = pipe
      fiber = spin { [move_on_after(0.001, with_value: :late) { lock.lock }, reader.wait_readable(0.01)] }
      sleep 0.005
      lock.unlock
      expect(fiber.await).to eq [:late, nil]
    end

    it "has its lock again after a sleep with it was interrupted" do
      lock = Mutex.new
      lock.synchronize do
        expect { Timeout.timeout(0.001) { lock.sleep } }.to raise_error Timeout::Error
        expect(lock).to be_owned
      end
    end

    it "wakes nobody by a signal whose waiter's time was up" do
      lock = Mutex.new
      condition = ConditionVariable.new
      fiber = spin { [lock.synchronize { condition.wait(lock, 0.001) }, suspend] }
      sleep 0.005
      condition.signal
      snooze
      fiber.schedule(:scheduled)
      expect(fiber.await.last).to eq :scheduled
    end

    it "locks no string that a cancelled read was given" do
      reader, = pipe
      buffer = +"before"
      fiber = spin { reader.readpartial(5, buffer) }
      snooze
      fiber.stop
      fiber.await
      expect(buffer << "!").to end_with "!"
    end

    it "writes what is buffered while others read it, however much it is" do
      reader, writer = pipe
      writer.sync = false
      got = spin { reader.read.bytesize }
      writer << "x" * 150_000
      writer.flush
      200.times { writer.print("y" * 1_000) }
      writer.puts("z" * 99_999)
      writer.flush
      writer.close
      expect(got.await).to eq 450_000
    end

    it "reads and writes at places of a file" do
      Tempfile.create do |file|
        expect([file.pwrite("abc", 2), file.pread(3, 2)]).to eq [3, "abc"]
      end
    end
  end

  it "hides what ends a killed thread from its fibers' clean-up" do
    seen = nil
    ready = Queue.new
    thread = Thread.new do
      spin do
        ready << true
        sleep
      ensure
        begin
          raise IOError
        rescue IOError => e
          seen = [e.cause.is_a?(Exception) || e.cause.nil?]
        end
      end
      sleep
    end
    ready.pop
    thread.kill.join
    expect(seen).to eq [true]
  end

  it "starts a timer where it is called, not where the kernel hears of it" do
    now = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }
    order = []
    fibers = [spin { sleep 0.01; order << :first }]
    snooze
    began = now.call
    nil while now.call - began < 0.02
    fibers << spin { sleep 0.001; order << :second }
    fibers.each(&:await)
    expect(order).to eq %i[first second]
  end

  it "outlives a collection with objects that were allocated and not initialised" do
    out = Child.ruby!(<<~RUBY)
      Polyphony.scheduler!
      classes = ObjectSpace.each_object(Class).select { |made| made.name.to_s.start_with?("Polyphony::") }
      made = classes.filter_map { |made| made.allocate rescue nil }
      GC.stress = true
      10.times { Thread::Queue.allocate; Polyphony::Event.allocate; Polyphony::Channel.allocate }
      GC.stress = false
      GC.start
      made.each { |object| object.inspect rescue nil }
      print made.size > 10
    RUBY
    expect(out).to eq "true"
  end

  it "takes calls that grow with the fibers, and no faster, to await and to end them" do
    work = lambda do |count, finish|
      fibers = Array.new(count) { spin { suspend } }
      snooze
      calls = 0
      TracePoint.new(:call, :c_call) { calls += 1 }.enable { finish.call(fibers) }
      calls
    end
    awaited = ->(fibers) { fibers.each(&:schedule); Fiber.await(*fibers) }
    ended = ->(_) { Fiber.current.shutdown_all_children }
    [awaited, ended].each { |finish| expect(work.call(2_000, finish)).to be < work.call(500, finish) * 6 }
  end

  it "lets the kernel write to nothing that a raised thread has left, and leaves the bytes to the next" do
    20.times do
      reader, writer = pipe
      ready = Queue.new
      thread = Thread.new do
        Thread.current.report_on_exception = false
        Polyphony.scheduler!
        begin
          ready << true
          reader.readpartial(64)
        rescue IOError
          [Thread.current.backend.stats[:pending_ops], reader.readpartial(64)]
        end
      end
      ready.pop
      snooze until thread.stop?
      thread.raise(IOError)
      writer << "late"
      expect(thread.value).to eq [0, "late"]
      [reader, writer].each(&:close)
    end
  end

  it "needs no free place in a tiny ring to cancel what fills it" do
    out = Child.ruby!(<<~RUBY)
      Polyphony.scheduler!(entries: 4)
      readers = Array.new(300) { IO.pipe }
      fibers = readers.map { |reader, _| spin { reader.readpartial(1) } }
      snooze
      fibers.each { |fiber| fiber.stop(:stopped) }
      print fibers.map(&:await).tally, Thread.current.backend.stats[:pending_ops]
    RUBY
    expect(out).to eq "#{{ stopped: 300 }}0"
  end

  everywhere "the main fiber", "a spun fiber" do
    it "answers for a connection whatever stock Ruby's sockets do, on either side" do
      pair = tcp_pair
      pair.each do |socket|
        expect([socket.addr, socket.peeraddr].map(&:size)).to eq [4, 4]
        expect([socket.getpeername, socket.getsockname]).to all be_a String
        expect([socket.local_address, socket.remote_address]).to all be_a Addrinfo
        expect(socket.getsockopt(:SOCKET, :TYPE).int).to eq Socket::SOCK_STREAM
        expect([socket.sync, socket.isatty, socket.close_on_exec?, socket.closed?]).to eq [true, false, true, false]
        expect(socket.recv_nonblock(1, exception: false)).to eq :wait_readable
        expect(socket.read_nonblock(1, exception: false)).to eq :wait_readable
      end
      expect(pair.map { |socket| socket.write_nonblock("1", exception: false) }).to eq [1, 1]
    end

    it "ends a connection's writing half, which its peer hears of" do
      one, other = tcp_pair
      one.write("last")
      one.close_write
      expect([other.read, other.eof?, other.gets, other.read(1)]).to eq ["last", true, nil, nil]
      expect { other.readpartial(1) }.to raise_error EOFError
    end

    it "reads single bytes of characters, and lines again after a rewind" do
      reader, writer = pipe
      writer << "é1"
      writer.close
      expect(Array.new(4) { reader.getbyte }).to eq [195, 169, 49, nil]
      Tempfile.create do |file|
        file << "a\nb\n"
        file.rewind
        expect([file.gets, file.rewind, file.gets, file.gets(chomp: true), file.lineno]).to eq ["a\n", 0, "a\n", "b", 2]
      end
    end
  end
end
