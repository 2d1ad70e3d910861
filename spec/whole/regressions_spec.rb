# frozen_string_literal: true

require "fileutils"
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

    it "looks once for a child that is to be waited for, whichever is meant" do
      own = Process.getpgrp
      { -1 => :alone, 0 => :mine, :group => :other }.each do |who, group|
        reader, writer = pipe
        leader = fork { Process.setpgid(0, 0); writer.close; reader.read; exit!(1) } if group == :other
        Process.setpgid(leader, leader) if leader
        child = fork { writer.close; reader.read; exit!(2) }
        Process.setpgid(child, { alone: 0, mine: own, other: leader }[group])
        if leader
          Process.kill(:KILL, leader)
          Process.wait(leader)
        end
        spin { 20.times { snooze }; writer.close }
        before = Thread.current.backend.stats[:op_count]
        expect([Process.wait(who == :group ? -leader : who), $?.exitstatus]).to eq [child, 2]
        expect(Thread.current.backend.stats[:op_count] - before).to be <= 1
      end
    end

    # Whoever is told of the end only, and not that it is over, waits for ever.
    it "waits for a child that has ended already" do
      pids = Array.new(3) { |number| fork { exit!(number) } }
      pids.each { |pid| snooze until File.read("/proc/#{pid}/stat").include?(") Z ") }
      waits = pids.map { |pid| spin { Process.wait2(pid).last.exitstatus } }
      expect(waits.map(&:await)).to eq [0, 1, 2]
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
      { Float::NAN => RangeError, -Float::INFINITY => ArgumentError }.each do |time, error|
        expect { sleep(time) }.to raise_error error
        expect { move_on_after(time) { nil } }.to raise_error error
      end
      expect(move_on_after(Float::INFINITY) { :in_time }).to eq :in_time
    end

    it "does not end a wait by what woke an earlier one too late" do
      lock = Mutex.new
      lock.lock
      reader, = pipe
      late = nil
      fiber = spin { [late = move_on_after(0.001, with_value: :late) { lock.lock }, reader.wait_readable(0.01)] }
      sleep 0.001 until late
      lock.unlock
      expect(fiber.await).to eq [:late, nil]
    end

    it "takes no call for an earlier wait for one to the next" do
      scheduler = Polyphony::FiberScheduler.new
      fiber = spin { suspend; scheduler.block("later", 0.002) }
      snooze
      scheduler.unblock("earlier", fiber)
      fiber.schedule
      expect(fiber.await).to be false
    end

    it "has its lock again after a sleep with it was interrupted" do
      lock = Mutex.new
      lock.synchronize do
        other = spin { lock.synchronize { sleep 0.001 until Thread.current.backend.stats[:timers].zero?; 3.times { snooze } } }
        expect { Timeout.timeout(0.001) { lock.sleep } }.to raise_error Timeout::Error
        expect(lock).to be_owned
        other.await
      end
    end

    it "wakes nobody by a signal whose waiter's time was up" do
      lock = Mutex.new
      condition = ConditionVariable.new
      waited = false
      fiber = spin { [lock.synchronize { condition.wait(lock, 0.001).tap { waited = true } }, suspend] }
      sleep 0.001 until waited
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

  everywhere "the main fiber", "a spun fiber" do
    it "gives every reader its bytes where more are ready at once than there are buffers" do
      pipes = Array.new(400) { pipe }
      readers = pipes.map { |reader, _| spin { reader.gets(chomp: true) } }
      2.times { snooze }
      pipes.each_with_index { |(_, writer), number| writer.write_nonblock("#{number}\n") } # without a turn between
      expect(readers.map(&:await)).to eq [*"0".."399"]
    end

    it "repeats nothing, and holds no lock, after a buffered write that was stopped" do
      reader, writer = pipe
      writer.sync = false
      victim = spin { (1..).each { |number| writer.write("#{number}\n") } }
      second = spin { 3.times { snooze }; writer.write("second\n") }
      5.times { snooze }
      victim.stop
      victim.await
      got = spin { reader.read }
      second.await
      writer.close
      *numbers, last = got.await.lines
      expect(last).to eq "second\n"
      expect(numbers.map(&:to_i)).to eq [*1..numbers.size]
    end

    # What went out in the turn in which it was stopped was written again with the next bytes; and a fiber that lives on
    # kept the others from writing.
    it "repeats nothing, and holds no lock, after a buffered write that was stopped as it got on" do
      reader, writer = pipe
      filling = 0
      filling += 4_096 while writer.write_nonblock("x" * 4_096, exception: false).is_a?(Integer)
      writer.sync = false
      lines = Array.new(10_000) { |number| "line #{number}\n" }.each
      victim = spin do
        loop { writer.write(lines.peek); lines.next }
      rescue Polyphony::Cancel
        Fiber.current.tag = :stopped
        suspend
      end
      snooze until victim.state == :waiting
      reader.read_nonblock(8_192)
      snooze until victim.state == :runnable
      victim.raise(Polyphony::Cancel)
      snooze until victim.tag == :stopped
      others = spin { loop { writer.write(lines.next) }; writer.close }
      reader.read(filling - 8_192)
      expect(reader.each_line.to_a).to eq lines.to_a
    ensure
      [victim, others].compact.each(&:stop)
      Fiber.await(*[victim, others].compact)
    end

    it "writes what is buffered when it closes, while others read it, and says where nobody does" do
      reader, writer = pipe
      nil while writer.write_nonblock("x" * 4_096, exception: false).is_a?(Integer)
      writer.sync = false
      writer << "rest"
      got = spin { reader.read }
      writer.close
      expect(got.await).to end_with "xrest"
      reader, writer = pipe
      writer.sync = false
      writer << "rest"
      reader.close
      expect { writer.close }.to raise_error Errno::EPIPE
      expect(writer).to be_closed
    end

    it "gives bytes to who waits for them, not to who waited on the same number before" do
      50.times do
        reader, writer = pipe
        number = reader.fileno
        first = spin { reader.readpartial(1) rescue $!.class }
        snooze
        reader.close
        others = Array.new(2) { pipe }
        other, theirs = others.find { |one, _| one.fileno == number }
        second = spin { other.readpartial(1) }
        snooze
        theirs << "2"
        expect([first.await, second.await]).to eq [IOError, "2"]
        [writer, *others.flatten].each(&:close)
      end
    end

    it "tells only who waits for a closed IO that it was closed" do
      closed, = pipe
      open, writer = pipe
      both = spin { IO.select([closed, open]) rescue $!.class }
      one = spin { open.wait_readable && open.readpartial(1) }
      2.times { snooze }
      closed.close
      expect(both.await).to eq IOError
      writer << "x"
      expect(one.await).to eq "x"
    end

    it "leaves no connection open that nobody took from an accept loop" do
      server = listen
      before = Dir.children("/proc/self/fd").size
      clients = Array.new(20) { TCPSocket.new("127.0.0.1", server.addr[1]) }
      accepting = spin { server.accept_loop { |socket| socket.close; snooze } }
      2.times { snooze }
      accepting.stop
      accepting.await
      [*clients, server].each(&:close)
      expect(Dir.children("/proc/self/fd").size).to eq before - 1
    end

    it "waits for all fibers of a scope, whoever yielded first and whenever they were spun" do
      done = []
      spin_scope do
        spin { done << :first }
        3.times { snooze }
        spin { 3.times { snooze }; done << :late }
      end
      expect(done).to eq %i[first late]
    end

    it "wakes all who wait for a Monitor's condition" do
      monitor = Monitor.new
      condition = monitor.new_cond
      ready = false
      waiters = Array.new(5) { spin { monitor.synchronize { condition.wait_until { ready }; :woken } } }
      3.times { snooze }
      monitor.synchronize { ready = true; condition.broadcast }
      expect(waiters.map(&:await)).to eq [:woken] * 5
    end

    it "never has two holders of a lock, and none too few, however its waiters are cancelled" do
      [Mutex.new, Monitor.new].each do |lock|
        holders = most = held = 0
        hold = proc do
          lock.synchronize do
            most = [most, holders += 1].max
            held += 1
            snooze
          ensure
            holders -= 1
          end
        end
        fibers = Array.new(200) { spin { 5.times(&hold) } }
        fibers.each_slice(2) { |victim, _| snooze; victim.stop }
        Fiber.await(*fibers)
        expect([most, holders, held >= 500, lock.synchronize { :free }]).to eq [1, 0, true, :free]
      end
    end
  end

  it "frees what a fiber has locked when it ends, and lets in who waits" do
    [Mutex.new, Monitor.new].each do |lock|
      take = lock.method(lock.is_a?(Mutex) ? :lock : :enter)
      holder = spin { take.call; snooze }
      snooze
      waiting = spin { lock.synchronize { :mine } }
      holder.await
      expect([waiting.await, Thread.new { lock.synchronize { :free } }.value]).to eq %i[mine free]
    end
  end

  it "hands a lock, an item and a message on without the kernel" do
    lock = Mutex.new
    queue = Queue.new
    work = lambda do
      receiver = spin { 100.times { receive } }
      [*Array.new(4) { spin { 25.times { lock.synchronize { snooze } } } }, spin { 100.times { queue.pop } },
       spin { 100.times { queue << 1; receiver << 1; snooze } }, receiver].each(&:await)
    end
    Thread.current.backend.stats # it counts from here
    work.call
    expect(Thread.current.backend.stats[:op_count]).to eq 0
  end

  it "takes no turns while it sleeps" do
    spin { sleep }.tap { snooze }
    before = Thread.current.backend.stats[:poll_count]
    sleep 0.2
    Fiber.current.shutdown_all_children
    expect(Thread.current.backend.stats[:poll_count] - before).to be < 20
  end

  {
    "sleep" => -> { sleep }, "a read" => -> { IO.pipe[0].read }, "readiness" => -> { IO.pipe[0].wait_readable },
    "a queue" => -> { Queue.new.pop }, "suspend" => -> { spin { sleep }; suspend }, "await" => -> { spin { sleep }.await },
    "a lock" => -> { Mutex.new.tap { |lock| spin { lock.lock; sleep }; snooze }.lock }
  }.each do |name, wait|
    it "hears of an exception that came before the thread waited in #{name}" do
      ready = raised = false
      thread = Thread.new do
        Thread.current.report_on_exception = false
        Polyphony.scheduler!
        Thread.handle_interrupt(IOError => :on_blocking) do
          ready = true
          nil until raised
          wait.call
        end
      end
      Thread.pass until ready
      thread.raise(IOError, "before")
      raised = true
      expect { thread.value }.to raise_error IOError, "before"
      GC.start
    end
  end

  it "wakes nobody by unblocking whom it may not wake, and raises nothing" do
    ended = spin { nil }
    ended.await
    of_ended_thread = Thread.new { spin { suspend }.tap { snooze } }.value
    scheduler = nil
    Thread.new do
      Fiber.set_scheduler(scheduler = Polyphony::FiberScheduler.new)
      Fiber.schedule { sleep 0 }
    end.join
    fibers = [ended, of_ended_thread, Fiber.new { nil }, Fiber.new { nil }.tap(&:resume), Fiber.current]
    answers = fibers.flat_map { |fiber| [scheduler.unblock(:blocker, fiber), scheduler.unblock(nil, fiber), Thread.new { scheduler.unblock(self, fiber) }.value] }
    expect(answers.uniq.size).to eq 1
    expect(move_on_after(0.001, with_value: :undisturbed) { suspend }).to eq :undisturbed
  end

  it "says false, not nil, where the wait of a hook runs out of time" do
    reader, writer = pipe
    answers = Thread.new do
      Fiber.set_scheduler(scheduler = Polyphony::FiberScheduler.new)
      all = []
      Fiber.schedule { all << scheduler.io_wait(reader, IO::READABLE, 0.001) << scheduler.io_wait(writer, IO::WRITABLE, 1) << scheduler.block(:it, 0.001) }
      all.tap { sleep 0.001 until all.size == 3 }
    end.value
    expect(answers).to eq [false, IO::WRITABLE, false]
  end

  it "tells what ended a fiber of Fiber.schedule" do
    thread = Thread.new do
      Thread.current.report_on_exception = false
      Fiber.set_scheduler(Polyphony::FiberScheduler.new)
      Fiber.schedule { sleep 0; raise IOError, "later" }
    end
    expect { thread.join }.to raise_error IOError, "later"
  end

  it "hears of signals while a queue is waited for and a Ractor runs" do
    out = Child.ruby!(<<~RUBY)
      Warning[:experimental] = false
      Polyphony.scheduler!
      heard = Queue.new
      trap(:USR1) { heard << :signal }
      ractor = Ractor.new { sum = 0; 200_000.times { |number| sum += number }; Process.kill(:USR1, Process.pid); Ractor.receive }
      print heard.pop
      ractor.send(:done)
      print ractor.take
    RUBY
    expect(out).to eq "signaldone"
  end

  it "runs on the backend that was asked for, and says so" do
    expect(Thread.current.backend.kind).to eq ENV.fetch("POLYPHONY_BACKEND", "io_uring").to_sym
  end

  it "waits for children as soon as there are descriptors again, where it cannot without" do
    out = Child.ruby!(<<~RUBY)
      Polyphony.scheduler!
      sleep 0
      pids = Array.new(2) { |number| fork { exit!(number) } }
      soft, hard = Process.getrlimit(:NOFILE)
      Process.setrlimit(:NOFILE, Dir.children("/proc/self/fd").size - 1, hard)
      first = (Process.wait2(pids[0]) rescue $!)
      Process.setrlimit(:NOFILE, soft, hard)
      first = Process.wait2(pids[0]) if first.is_a?(Errno::EAGAIN)
      p first[1].exitstatus, Process.wait2(pids[1])[1].exitstatus
    RUBY
    expect(out).to eq "0\n1\n"
  end

  it "costs an exception nothing that no fiber ended" do
    expect(Exception.instance_method(:initialize).owner).to eq Exception
    expect(Exception.method(:new).owner).to eq Class
  end

  it "leaves a user's own files in backtraces, also below lib/polyphony" do
    in_directory do |directory|
      file = File.join(directory, "lib", "polyphony", "mine.rb")
      FileUtils.mkdir_p(File.dirname(file))
      File.write(file, "spin { raise IOError }.await")
      expect { load file }.to raise_error(IOError) { |error| expect(error.backtrace.first).to start_with "#{file}:1" }
    end
  end

  it "ends with its fibers, threads and exit handlers, whoever calls exit" do
    out = Child.ruby!(<<~RUBY)
      at_exit { print :handler }
      spin do
        sleep
      ensure
        print :cleaned
      end
      Thread.new { spin { sleep }; sleep }
      spin { sleep 0.001; exit }
      sleep
    RUBY
    expect(out).to eq("cleanedhandler").or eq("handlercleaned")
  end

  {
    "a thread that a fiber feeds" => "Thread.new { queue.pop }.value",
    "a thread that a fiber feeds, in a fiber" => "spin { Thread.new { queue.pop }.value }.await",
    "a thread, for no longer than a time" => "move_on_after(0.01, with_value: :fed) { Thread.new { sleep }.value }",
    "the end of a Fiber.schedule" => "Fiber.schedule { queue.pop; puts :fed }"
  }.each do |what, body|
    { "an exit handler" => "at_exit", "the trap of the end" => "trap(:EXIT)", "a stock trap of the end" => "Signal.trap(:EXIT)" }.each do |name, handler|
      it "lets fibers run while #{name} waits for #{what}" do
        out = Child.ruby!("spin {}.await; #{handler} { queue = Queue.new; spin { snooze; queue << :fed }; puts begin; #{body}; end }")
        expect(out).to include("fed")
      end
    end
  end

  it "lets the trap of the end write to a terminal, in a fiber" do
    out = Child.ruby!(<<~RUBY)
      require "pty"
      terminal, written = PTY.open
      trap(:EXIT) { puts spin { written.puts "line"; terminal.readpartial(9).chomp }.await }
      spin {}.await
    RUBY
    expect(out).to eq "line\n"
  end

  it "refuses to sleep for what is no number, as stock Ruby does" do
    expect { sleep(Float::NAN) }.to raise_error RangeError, "NaN out of Time range"
  end

  # What each stock method says of an IO that is frozen, and that it says the same in a fiber.
  describe "a frozen stream" do
    calls = {
      write: ["x"], print: ["x"], puts: ["x"], putc: ["x"], syswrite: ["x"], flush: [], fsync: [], gets: [], read: [3], readpartial: [3], sysread: [3], getc: [],
      getbyte: [], eof?: [], wait_readable: [0], wait_writable: [0], recv: [3], send: ["x", 0], close: [], close_write: []
    }
    calls.each do |name, arguments|
      it "answers #{name} as it does in stock Ruby" do
        said = lambda do
          stream, peer = unix_pair
          peer.write_nonblock("line\n")
          stream.freeze.public_send(name, *arguments)
        rescue StandardError => e
          e.class
        end
        expect(spin(&said).await).to eq Thread.new(&said).value
      end
    end

    it "accepts nothing" do
      server = listen
      closing(TCPSocket.new("127.0.0.1", server.addr[1]))
      expect { server.freeze.accept }.to raise_error FrozenError
    end
  end

  {
    "sleeps" => "sleep 0.001; :done", "receives" => "snooze; receive", "pops" => "queue.pop", "waits for a lock" => "lock.synchronize { :done }",
    "spins" => "spin { :done }.await", "joins" => "Thread.new { :done }.value", "is late" => "move_on_after(0.001, with_value: :done) { sleep }"
  }.each do |what, body|
    it "lets a fiber go on that is frozen and #{what}" do
      queue = Queue.new
      lock = Mutex.new
      spin { lock.synchronize { snooze } }
      work = eval("-> { #{body} }") # rubocop:disable Security/Eval
      fiber = spin { Fiber.current.freeze && work.call }
      fiber << :done
      queue << :done
      expect([fiber.await, fiber.frozen?]).to eq [:done, true]
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
