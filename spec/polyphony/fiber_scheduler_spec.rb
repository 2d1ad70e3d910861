# frozen_string_literal: true

# Ruby's own scheduler interface, alone: no core class is touched. Each example is a process of its own.
RSpec.describe "Polyphony::FiberScheduler" do
  PRELUDE = <<~'RUBY'
    Warning[:experimental] = false # IO::Buffer is
    require "socket"
    require "timeout"
    require "tempfile"
    require "monitor"
    # How many turns others got while the block waited.
    def turns_during
      over = false
      $turns = 0
      Fiber.schedule { until over; $turns += 1; sleep 0; end }
      before = $turns
      value = yield
      [value, $turns - before]
    ensure
      over = true
    end
    # For another thread, which must not be done before others have had their turns.
    def until_others_ran = (Thread.pass until $turns > 3)
    def scheduled(&block)
      result = error = nil
      Fiber.set_scheduler(Polyphony::FiberScheduler.new)
      Fiber.schedule do
        result = block.call
      rescue Exception => e
        error = e
      end
      Fiber.set_scheduler(nil)
      raise error if error
      result
    end
  RUBY

  def in_scheduler(body)
    Child.ruby!("#{PRELUDE}\np(scheduled do\n#{body}\nend)", loaded: "polyphony/bare").chomp
  end

  hooks = %i[block unblock kernel_sleep io_wait io_read io_write io_pread io_select io_close process_wait timeout_after
             address_resolve blocking_operation_wait fiber_interrupt yield fiber run scheduler_close close]

  it "has every hook that is safe in this Ruby" do
    expect(hooks - Polyphony::FiberScheduler.public_instance_methods).to be_empty
    expect(Polyphony::FiberScheduler.method_defined?(:io_pwrite)).to be RUBY_VERSION >= "4.0"
  end

  describe "waits without holding the thread for" do
    {
      "a line of a pipe" => ['r, w = IO.pipe; Fiber.schedule { 20.times { sleep 0 }; w.puts "line" }; r.gets', '"line\n"'],
      "bytes of a socket" => ['a, b = UNIXSocket.pair; Fiber.schedule { 20.times { sleep 0 }; b << "x" }; a.readpartial(9)', '"x"'],
      "room in a pipe" => ['r, w = IO.pipe; Fiber.schedule { 20.times { sleep 0 }; r.read(300_000) }; w.write("x" * 300_000)', "300000"],
      "a mutex" => ["m = Mutex.new; Fiber.schedule { m.synchronize { 20.times { sleep 0 } } }; m.synchronize { :mine }", ":mine"],
      "a queue that another thread fills" => ["q = Queue.new; Thread.new { until_others_ran; q << 1 }; q.pop", "1"],
      "a monitor" => ["m = Monitor.new; Fiber.schedule { m.synchronize { 20.times { sleep 0 } } }; m.synchronize { :mine }", ":mine"],
      "a condition" => ["m, c = Mutex.new, ConditionVariable.new; Fiber.schedule { 20.times { sleep 0 }; c.signal }; m.synchronize { c.wait(m); :told }", ":told"],
      "a thread" => ["Thread.new { until_others_ran; 7 }.value", "7"],
      "a child process" => ["r, w = IO.pipe; Fiber.schedule { 20.times { sleep 0 }; w.puts }; Process.wait(spawn(\"read line; exit 3\", in: r)); $?.exitstatus", "3"],
      "what a command says" => ["$stdin.reopen((pipe = IO.pipe)[0]); Fiber.schedule { 20.times { sleep 0 }; pipe[1].puts }; `read line; echo said`", '"said\n"'],
      "a connection" => ['s = TCPServer.new("127.0.0.1", 0); Fiber.schedule { 20.times { sleep 0 }; s.accept << "hi" }; TCPSocket.new("127.0.0.1", s.addr[1]).readpartial(2)', '"hi"'],
      "a time" => ["5.times { sleep(0.001) }; nil", "nil"],
      "a name" => ['slow = Module.new { def getaddrinfo(*) = (until_others_ran unless Thread.current == Thread.main; super) }; Addrinfo.singleton_class.prepend(slow); Addrinfo.getaddrinfo("localhost", 80, nil, :STREAM).map(&:ip_port).uniq', "[80]"]
    }.each do |what, (body, expected)|
      it what do
        value, turns = eval(in_scheduler("turns_during { #{body} }"))
        expect([value.inspect, turns > 2]).to eq [expected, true]
      end
    end

    it "one of several, as IO.select waits", if: RUBY_VERSION >= "3.2" do
      value, turns = eval(in_scheduler(<<~RUBY))
        a, b = IO.pipe, IO.pipe
        turns_during do
          Fiber.schedule { 20.times { sleep 0 }; b[1] << "x" }
          ready = IO.select([a[0], b[0]], [], nil, 30)
          [ready[0] == [b[0]], ready[1], IO.select([a[0]], nil, nil, 0.01)]
        end
      RUBY
      expect([value, turns > 2]).to eq [[true, [], nil], true]
    end

    it "opening a FIFO, which waits for its other end", if: RUBY_VERSION >= "3.4" do
      value, turns = eval(in_scheduler(<<~RUBY))
        path = Dir::Tmpname.create("fifo") { nil }
        File.mkfifo(path)
        Thread.new { until_others_ran; File.write(path, "through") }
        turns_during { File.open(path) { |file| file.read } }.tap { File.delete(path) }
      RUBY
      expect([value, turns > 2]).to eq ["through", true]
    end
  end

  # From 3.2 on Ruby gave the hook a lock that it hides from programs, which has no class: the process crashed.
  it "lets one fiber load a file while others require it, too" do
    loaded = <<~'RUBY'
      Dir.mktmpdir do |directory|
        File.write("#{directory}/slow_to_load.rb", "sleep 0.01")
        answers = []
        3.times.map { Fiber.schedule { answers << require("#{directory}/slow_to_load") } }
        sleep 0.001 until answers.size == 3
        answers
      end
    RUBY
    expect(in_scheduler(loaded)).to eq "[true, false, false]"
  end

  describe "#io_read and #io_write" do
    def hook(body) = in_scheduler("s = Fiber.scheduler; r, w = IO.pipe; b = IO::Buffer.new(16); #{body}")

    it "say with length 0 at once that nothing is there, and what there is" do
      expect(hook("[s.io_read(r, b, 0, 0), (w.syswrite('abc'); s.io_read(r, b, 0, 4)), b.get_string(4, 3)]")).to eq '[-11, 3, "abc"]'
    end

    it "wait for so many bytes as are wanted at least" do
      expect(hook("Fiber.schedule { w.syswrite('ab'); sleep 0; w.syswrite('cdef') }; [s.io_read(r, b, 4, 0), b.get_string(0, 6)]")).to eq '[6, "abcdef"]'
    end

    it "say less where the stream ends" do
      expect(hook("w.syswrite('ab'); w.close; [s.io_read(r, b, 4, 0), s.io_read(r, b, 4, 0)]")).to eq "[2, 0]"
    end

    it "never touch memory behind the buffer" do
      expect(hook("w.syswrite('x' * 64); [s.io_read(r, b, 64, 12), s.io_read(r, b, 1, 16), s.io_read(r, b, 1, 99)]")).to eq "[4, 0, 0]"
    end

    it "give a failure as a negative number of the errno" do
      expect(hook("[s.io_read(w, b, 1, 0), (r.close; s.io_write(w, b, 16, 0))]")).to eq "[-9, -32]"
    end

    # Ruby's `syswrite` does not ask again, and raised EAGAIN where the pipe was full.
    it "write what there is room for with length 0, and wait for room" do
      expect(hook("big = IO::Buffer.new(100_000); first = s.io_write(w, big, 0, 0); Fiber.schedule { r.readpartial(99_999) }; [first.positive?, s.io_write(w, big, 0, 0).positive?]")).to eq "[true, true]"
    end

    it "let syswrite wait where nothing more fits" do
      expect(hook("Fiber.schedule { r.readpartial(99_999) }; [w.syswrite('x' * 65_536), w.syswrite('y' * 9)]")).to eq "[65536, 9]"
    end

    # Ruby's `sysread` does not ask again, and raised EAGAIN.
    it "let sysread wait, and read_nonblock not" do
      expect(hook("Fiber.schedule { s.kernel_sleep(0); w.syswrite('late') }; [r.sysread(9), (r.read_nonblock(9) rescue $!.class), r.read_nonblock(9, exception: false)]"))
        .to eq '["late", IO::EAGAINWaitReadable, :wait_readable]'
    end

    it "read and write files at a place" do
      body = "f = File.new(Tempfile.new.path, 'w+'); f.syswrite('0123456789'); [s.io_pread(f, b, 3, 4, 0), b.get_string(0, 4), f.pos]"
      expect(hook(body)).to eq '[7, "3456", 10]'
    end

    it "write a little to a file with no operation, and much with one" do
      body = "f = File.new(Tempfile.new.path, 'w+'); done = -> { Polyphony.scheduler.stats[:completed] }; at_first = done.call; " \
             "5.times { f.syswrite('x' * 100) }; little = done.call == at_first; f.syswrite('y' * 200_000); [little, done.call == at_first, f.size]"
      expect(hook(body)).to eq "[true, false, 200500]"
    end

    it "raise in a reader what another raises, and lose no byte" do
      body = "said = nil; reader = Fiber.schedule { begin; s.io_read(r, b, 1, 0); rescue RuntimeError => e; said = e.message; end }; " \
             "Fiber.scheduler.fiber_interrupt(reader, RuntimeError.new('told')); w << 'kept'; [r.readpartial(9), (100.times { said ? break : sleep(0) }; said)]"
      expect(hook(body)).to eq '["kept", "told"]'
    end
  end

  # Ruby hands on what it was given, and no more: `IO.select([io])` was an ArgumentError.
  it "selects by as many arguments as IO.select was given" do
    body = "r, w = IO.pipe; w << 'x'; [IO.select([r]), IO.select([r], [w]), IO.select([r], nil, nil)].map { |sets| sets.map(&:size) }"
    expect(in_scheduler(body)).to eq "[[1, 0, 0], [1, 1, 0], [1, 0, 0]]"
  end

  describe "in the order of later Rubies" do
    it "takes the fourth version's arguments: offset, then the most" do
      body = "s = Class.new(Polyphony::FiberScheduler) { prepend Polyphony::FiberScheduler::FourthOrder }.new; r, w = IO.pipe; b = IO::Buffer.new(16); " \
             "w.syswrite('abcdef'); [s.io_read(r, b, 2, 3), b.get_string(2, 3), s.io_write(w, b, 2, 3), r.readpartial(9)]"
      expect(in_scheduler(body)).to eq '[3, "abc", 3, "defabc"]'
    end

    it "waits for an io to be closed with its number, and leaves closing to Ruby" do
      body = "r, w = IO.pipe; said = nil; Fiber.schedule { begin; r.readpartial(1); rescue IOError => e; said = e.message; end }; sleep 0; " \
             "answer = Fiber.scheduler.io_close(r.fileno); sleep 0; [answer, said]"
      expect(in_scheduler(body)).to eq '[false, "stream closed in another thread"]'
    end

    it "interrupts a waiting fiber from another thread" do
      body = "said = nil; f = Fiber.schedule { begin; sleep; rescue => e; said = e.message; end }; s = Fiber.scheduler; Thread.new { s.fiber_interrupt(f, RuntimeError.new('now')) }.join; sleep 0 until said; said"
      expect(in_scheduler(body)).to eq '"now"'
    end

    # Ruby 4.1's stands for an operation while it lasts, and answers no more than this.
    it "interrupts what stands for a fiber by its own raise, in the scheduler's thread" do
      body = <<~'RUBY'
        said = nil
        fiber = Fiber.schedule { begin; sleep; rescue => e; said = [e.message, Thread.current]; end }
        proxy = Class.new(BasicObject) do
          define_method(:alive?) { fiber.alive? }
          define_method(:raise) { |*args| fiber.raise(*args) }
          define_method(:transfer) { |*args| fiber.transfer(*args) }
        end.new
        s, main = Fiber.scheduler, Thread.current
        Thread.new { s.fiber_interrupt(proxy, RuntimeError.new("now")) }.join
        sleep 0 until said
        s.fiber_interrupt(proxy, RuntimeError.new("late"))
        sleep 0
        [said[0], said[1] == main]
      RUBY
      expect(in_scheduler(body)).to eq '["now", true]'
    end

    # Ruby 3.4 closes by it what it no longer has, and lends it the memory of the fiber that waits.
    it "begins a blocking operation in any case, and leaves none behind" do
      body = <<~'RUBY'
        events = []
        fiber = Fiber.schedule do
          work = -> { begin; events << :begun; sleep; ensure; sleep 0.01; events << :ended; end }
          Fiber.scheduler.blocking_operation_wait(work)
        rescue RuntimeError => e
          events << e.message
        end
        Fiber.scheduler.fiber_interrupt(fiber, RuntimeError.new("told"))
        sleep 0.001 while fiber.alive?
        events
      RUBY
      expect(in_scheduler(body)).to eq '[:begun, :ended, "told"]'
    end

    it "yields" do
      expect(in_scheduler("seen = []; Fiber.schedule { seen << 1; sleep 0; seen << 3 }; seen << 2; Fiber.scheduler.yield; sleep 0; seen")).to eq "[1, 2, 3]"
    end
  end

  describe "#block and #unblock" do
    it "lose no wake-up that comes first" do
      expect(in_scheduler("s = Fiber.scheduler; f = Fiber.current; s.unblock(:it, f); s.block(:it, 30)")).to eq "true"
    end

    it "say that the time is up" do
      expect(in_scheduler("Fiber.scheduler.block(:it, 0.001)")).to eq "false"
    end

    it "take no wake-up for one that is for another blocker, or late" do
      expect(in_scheduler("s = Fiber.scheduler; s.unblock(Object.new, Fiber.current); s.block(Object.new, 0.001)")).to eq "false"
    end

    it "never raise, whatever is unblocked" do
      expect(in_scheduler("dead = Fiber.schedule { nil }; Fiber.scheduler.unblock(:it, dead); :silent")).to eq ":silent"
    end

    # What cannot be written to raised FrozenError.
    it "never raise, also where that is no fiber, or a frozen one" do
      body = "s = Fiber.scheduler; [nil, 1, :it, 'it', Object.new, Thread.current, Fiber.new { nil }.freeze, BasicObject.new].each { |it| s.unblock(it, it) }; :silent"
      expect(in_scheduler(body)).to eq ":silent"
    end
  end

  it "sleeps for no time, and not for ever, at sleep(0)" do
    expect(in_scheduler("[sleep(0), Fiber.scheduler.kernel_sleep(0)]")).to eq "[0, true]"
  end

  it "raises a timeout of the class and with the message that were given" do
    body = "[nil, ArgumentError].map { |k| begin; Timeout.timeout(0.001, *[k, ('mine' if k)].compact) { sleep }; rescue Exception => e; [e.class, e.message]; end }"
    expect(in_scheduler(body)).to eq '[[Timeout::Error, "execution expired"], [ArgumentError, "mine"]]'
  end

  # It never ended: the hook's alarm was heard of in waits only.
  it "ends by a timeout a block that computes, as stock Ruby does" do
    body = "[nil, ArgumentError].map { |k| begin; Timeout.timeout(0.001, *[k, ('mine' if k)].compact) { loop { } }; rescue Exception => e; [e.class, e.message]; end }"
    expect(in_scheduler(body)).to eq '[[Timeout::Error, "execution expired"], [ArgumentError, "mine"]]'
  end

  it "tells a child that was killed, one that is not there, and any child of a group" do
    body = "pid = spawn('kill -9 $$'); Process.wait(pid); a = $?.termsig; b = begin; Process.wait(pid); rescue => e; e.class; end; " \
           "c = spawn('exit 4'); Process.wait(-1); d = $?.exitstatus; e = spawn('sleep 9'); f = [Process.wait(e, Process::WNOHANG), Fiber.scheduler.process_wait(e, Process::WNOHANG)]; Process.kill(:KILL, e); " \
           "Process.waitall.size.then { |n| [a, b, d, f, n] }"
    expect(in_scheduler(body)).to eq "[9, Errno::ECHILD, 4, [nil, nil], 1]"
  end

  it "raises in a fiber that parks what Fiber#raise raises, and the one that raises goes on" do
    body = "said = nil; f = Fiber.schedule { begin; sleep; rescue => e; said = e.message; end }; f.raise('there'); [said, sleep(0)]"
    expect(in_scheduler(body)).to eq '["there", 0]'
  end

  # The main fiber's next wait took the turn that it was given inside Fiber#raise for its own, and the fiber that ended
  # at once stayed the running one.
  { "ends at once" => "sleep rescue nil", "waits once more" => "(sleep rescue sleep 0); nil",
    "is in the middle of an operation" => "IO.pipe[0].read(1) rescue nil" }.each do |what, body|
    it "starts a fiber at once after Fiber#raise in one that #{what}" do
      out = Child.ruby!(<<~RUBY, loaded: "polyphony/bare")
        Fiber.set_scheduler(Polyphony::FiberScheduler.new)
        started = 0
        raised = Fiber.schedule { #{body} }
        raised.raise(IOError)
        p 3.times.map { Fiber.schedule { started += 1; sleep 0; started += 10 }; started % 10 }
        Fiber.scheduler.run
        p started, Polyphony.scheduler.fibers.size
      RUBY
      expect(out).to eq "[1, 2, 3]\n33\n1\n"
    end
  end

  it "runs fibers of Fiber.schedule at once, until they first wait" do
    expect(in_scheduler("seen = []; Fiber.schedule { seen << 1; sleep 0; seen << 3 }; seen << 2; sleep 0.001; seen")).to eq "[1, 2, 3]"
  end

  it "runs to completion when it is closed, and when the program ends" do
    out = Child.ruby!("Fiber.set_scheduler(Polyphony::FiberScheduler.new); Fiber.schedule { sleep 0.01; puts :last }; puts :first", loaded: "polyphony/bare")
    expect(out).to eq "first\nlast\n"
  end

  it "serves another after it was closed, in a thread of its own, too" do
    out = Child.ruby!(<<~RUBY, loaded: "polyphony/bare")
      2.times { Fiber.set_scheduler(Polyphony::FiberScheduler.new); Fiber.schedule { sleep 0.001; puts :main }; Fiber.set_scheduler(nil) }
      scheduler = Polyphony::FiberScheduler.new
      Thread.new { Fiber.set_scheduler(scheduler); Fiber.schedule { sleep 0.001; puts :thread } }.join
    RUBY
    expect(out).to eq "main\nmain\nthread\n"
  end

  it "lets the program end with the error that a fiber ends with" do
    out, err, status = Child.ruby("Fiber.set_scheduler(Polyphony::FiberScheduler.new); Fiber.schedule { sleep 0.001; raise 'unheard' }", loaded: "polyphony/bare")
    expect([out, err.include?("unheard (RuntimeError)"), status.exitstatus]).to eq ["", true, 1]
  end

  describe "in hard times" do
    def program(body)
      out, err, status = Child.ruby("Warning[:experimental] = false\nFiber.set_scheduler(Polyphony::FiberScheduler.new)\n#{body}", loaded: "polyphony/bare")
      [out, err[/\((?:\w+::)?(\w+)\)/, 1], status.exitstatus || status.termsig]
    end

    it "lets exit in a fiber end the program with its status" do
      expect(program("Fiber.schedule { sleep 0.001; exit 3 }; Fiber.schedule { sleep 20 }")).to eq ["", nil, 3]
    end

    it "raises in the main fiber what Thread#raise raises, and the fibers go on" do
      body = "t = Thread.current; q = Queue.new; Fiber.schedule { puts q.pop }; Thread.new { t.raise('told') }; begin; Fiber.scheduler.run; rescue => e; puts e.message; end; q << :fiber"
      expect(program(body)).to eq ["told\nfiber\n", nil, 0]
    end

    it "tells of a deadlock once, and again only where a fiber has had a turn since" do
      stuck = "q = Queue.new; Fiber.schedule { 2.times { puts q.pop } }; begin; Fiber.scheduler.run; rescue Polyphony::Deadlock; puts :told; end"
      expect(program(stuck)).to eq ["told\n", nil, 0]
      expect(program("#{stuck}; q << :popped")).to eq ["told\npopped\n", "Deadlock", 1]
      expect(program("#{stuck}; Thread.new { q << 1 << 2 }.join")).to eq ["told\n1\n2\n", nil, 0]
      _, err, = Child.ruby("Fiber.set_scheduler(Polyphony::FiberScheduler.new); Fiber.schedule { Queue.new.pop }; Fiber.scheduler.run", loaded: "polyphony/bare")
      expect(err.scan("no fiber can go on").size).to eq 1
    end

    it "hears of a kill where every fiber waits" do
      body = "t = Thread.new { Fiber.set_scheduler(Polyphony::FiberScheduler.new); Fiber.schedule { sleep }; Fiber.scheduler.run }; Thread.pass until t.stop?; t.kill; p t.join.equal?(t)"
      expect(program(body)).to eq ["true\n", nil, 0]
    end

    it "runs only the fiber that forks in the child, which may schedule others" do
      body = "q = Queue.new; Fiber.schedule { q.pop; puts :other }; Fiber.schedule { pid = fork { Fiber.schedule { q << 1; sleep 0.001; puts :child } }; Process.wait(pid); puts $?.exitstatus; q << 1 }"
      expect(program(body)).to eq ["child\n0\nother\n", nil, 0]
    end

    it "goes on in both processes behind a fork without a block" do
      body = "Fiber.schedule { if (pid = fork) then Process.wait(pid); puts $?.exitstatus else sleep 0.001; puts :child end }; Fiber.schedule { sleep 0.05 }"
      expect(program(body)).to eq ["child\n0\n", nil, 0]
    end

    it "runs trap handlers while it waits" do
      expect(program("trap(:USR1) { puts $trapped = :trapped }; Fiber.schedule { Process.kill(:USR1, $$); sleep 0.001 until $trapped; puts :end }")).to eq ["trapped\nend\n", nil, 0]
    end

    it "keeps what waits through collections and compactions" do
      body = "GC.auto_compact = true; GC.stress = true; r, w = IO.pipe; q = Queue.new; Fiber.schedule { puts r.gets; q << :item }; Fiber.schedule { w.puts 'line'; p q.pop }"
      expect(program(body)).to eq ["line\n:item\n", nil, 0]
    end

    it "runs the ensure of a fiber that is interrupted, which may wait" do
      body = "f = Fiber.schedule { begin; sleep; rescue RuntimeError; puts :told; ensure; sleep 0.001; puts :ensured; end }; Fiber.scheduler.fiber_interrupt(f, RuntimeError.new)"
      expect(program(body)).to eq ["told\nensured\n", nil, 0]
    end

    it "interrupts in a hook what waited too long, and the io stays usable" do
      body = "require 'timeout'; r, w = IO.pipe; Fiber.schedule { begin; Timeout.timeout(0.001) { r.gets }; rescue Timeout::Error; puts :late; end; w.puts 'line'; puts r.gets }"
      expect(program(body)).to eq ["late\nline\n", nil, 0]
    end

    it "serves thousands at once" do
      expect(program("n = 0; 5000.times { Fiber.schedule { sleep 0.001; n += 1 } }; Fiber.scheduler.run; p n")).to eq ["5000\n", nil, 0]
    end
  end
end

RSpec.describe "Fiber.set_scheduler, where the drop-in is loaded," do
  OTHER = <<~RUBY
    class Other
      %i[block unblock kernel_sleep io_wait close].each { |hook| define_method(hook) { |*| nil } }
      def fiber(&block) = Fiber.new(blocking: false, &block).tap(&:resume)
    end
  RUBY

  it "refuses another scheduler while spun fibers live, and says which" do
    out = Child.ruby!("#{OTHER}fiber = spin(:busy) { suspend }; begin; Fiber.set_scheduler(Other.new); rescue FiberError => e; puts e.message; end; p Fiber.scheduler.class; fiber.stop")
    expect(out).to match(/\A1 fibers of this thread are alive \(#<Fiber busy:.*\nPolyphony::FiberScheduler\n\z/)
  end

  it "steps aside for another where none lives, and comes back when that has gone" do
    out = Child.ruby!(<<~RUBY)
      #{OTHER}
      spin { nil }.await
      Fiber.set_scheduler(Other.new)
      p Fiber.scheduler.class, Polyphony.scheduler
      begin
        spin { nil }
      rescue RuntimeError => e
        puts e.message
      end
      Fiber.set_scheduler(nil)
      p spin { sleep 0.001; 3 }.await, Fiber.scheduler.class
    RUBY
    expect(out).to eq <<~TEXT
      Other
      nil
      Other serves this thread already: use Polyphony in another thread, or Polyphony::FiberScheduler in its place
      3
      Polyphony::FiberScheduler
    TEXT
  end
end
