# frozen_string_literal: true

require "stringio"

RSpec.describe "Polyphony.dump" do
  it "writes which fibers there are, as a tree, what each waits for, and where" do
    reader, = pipe
    fibers = [spin(:reader) { reader.read(1) }, spin(:parent) { spin(:child) { suspend }; Queue.new.pop }, spin(:sleeper) { sleep 100 }]
    3.times { snooze }
    ready = spin(:ready) { nil }
    Polyphony.dump(out = StringIO.new)
    lines = out.string.lines.map(&:chomp)
    expect(lines.first).to match(/\Amain thread, (io_uring|epoll).*: 6 fibers\z/)
    expect(lines[1]).to match(/\A  main \(fiber \d+\): running, at #{__FILE__}:\d+:in/)
    expect(lines[2..]).to match_array [
      /\A    reader \(fiber \d+\): ReadPooled on descriptor #{reader.fileno} for \d+\.\d s, at #{__FILE__}:\d+:in [`']([\w:]+#)?read'/,
      /\A    parent \(fiber \d+\): in a line for /, /\A      child \(fiber \d+\): waiting for /, /\A    sleeper \(fiber \d+\): asleep for /,
      /\A    ready \(fiber \d+\): ready/
    ]
  ensure
    (fibers + [ready]).each(&:stop)
    Fiber.await(*fibers, ready)
  end

  it "tells of other threads" do
    ready = Queue.new
    thread = Thread.new { spin(:there) { ready << true; suspend }.await }
    ready.pop
    Polyphony.dump(out = StringIO.new)
    expect(out.string).to include "there (fiber", thread.inspect[0, 20]
  ensure
    thread.kill.join
  end

  it "is what SIGQUIT does, also where a fiber never waits" do
    out, err, status = Child.ruby(<<~RUBY)
      # The signal may reach another thread of the process first.
      def $stderr.orig_write(*) = super.tap { $told = true }
      spin(:busy) { Process.kill(:QUIT, $$); 1_000_000_000.times { break if $told }; exit!(0) }.await
    RUBY
    expect([out, status.success?]).to eq ["", true]
    expect(err).to match(/busy \(fiber \d+\): running/)
  end

  it "leaves a program's own handler of SIGQUIT" do
    expect(Child.ruby!("trap(:QUIT) { puts :mine }; snooze; Process.kill(:QUIT, $$); snooze")).to eq "mine\n"
  end
end

RSpec.describe "Polyphony::Deadlock" do
  it "is raised in the main fiber where nothing can wake what it waits for, and says who waits where" do
    out = Child.ruby!(<<~RUBY)
      popper = spin(:popper) { Queue.new.pop }
      begin
        popper.await
      rescue Polyphony::Deadlock => e
        puts e.message
      end
      popper.stop
    RUBY
    expect(out).to match(/\Ano fiber can go on: .*\nmain thread.*\n  main.*waiting.*\n    popper .*in a line/)
  end

  it "tells of fibers that wait for each other's locks" do
    _, err, status = Child.ruby("a, b = Mutex.new, Mutex.new; one = spin { a.lock; snooze; b.lock }; two = spin { b.lock; snooze; a.lock }; Fiber.await(one, two)")
    expect([status.exitstatus, err[/\(Polyphony::\w+\)/]]).to eq [1, "(Polyphony::Deadlock)"]
  end

  # Nobody told of handlers that were set before the gem was loaded, or where it is alone.
  { "the scheduler is alone" => ["polyphony/bare", "Fiber.set_scheduler(Polyphony::FiberScheduler.new); Fiber.schedule { $popped.pop }"],
    "it was set before the gem was loaded" => ["polyphony", "spin { $popped.pop }.await"] }.each do |what, (library, waits)|
    it "is not raised where a signal handler may help, and #{what}" do
      out = Child.ruby!(<<~RUBY, loaded: "rbconfig")
        $popped = Queue.new
        trap(:USR1) { $stdout.syswrite("told\\n"); exit!(0) }
        require "#{library}"
        Polyphony::Deadlock.singleton_class.prepend(Module.new { def check = super.tap { Process.kill(:USR1, $$) } })
        #{waits}
        Fiber.scheduler.run
      RUBY
      expect(out).to eq "told\n"
    end
  end

  waiting = "spin(:stuck) { suspend }.await"
  {
    "runs fibers that cannot go on" => ["snooze; Thread.new { #{waiting} }.join", /main .*waiting.*stuck .*waiting/m],
    "runs fibers that cannot go on, where the main one runs none" => ["Thread.new { #{waiting} }.join", /stuck .*\n\n#<Thread:.*: waiting, at -e:1:in/m],
    "runs none and cannot go on" => ["snooze; Thread.new { Queue.new.pop }.join", /main .*waiting.*#<Thread:.*: waiting, at -e:1:in/m],
    "waits for another that cannot go on" => ["Thread.new { snooze; Thread.new { #{waiting} }.join }.join", /main .*waiting.*stuck .*waiting/m]
  }.each do |what, (script, tree)|
    it "is raised in the main fiber where it waits for a thread that #{what}" do
      out = Child.ruby!("begin; #{script}; rescue Polyphony::Deadlock => e; puts e.message; end; Thread.list.each { |each| each.kill unless each == Thread.main }")
      expect(out).to match(/\Ano fiber can go on: .*\n/).and match(tree)
    end
  end

  # `asked` is what happens as soon as it has been looked whether the process can go on. Where the main thread need not
  # ask, an `other` does, which comes to rest after it.
  asked = "Polyphony::Deadlock.singleton_class.prepend(Module.new { def check = super.tap { $asked.call } })"
  other = "#{asked}; $asked = -> { exit!(Thread.current == Thread.main || Thread.main.pending_interrupt? ? 1 : 7) }; " \
          "Thread.new { Thread.pass until Thread.main.stop?; spin { suspend }.await }"
  {
    "any other" => "Thread.new { r.read(1); Queue.new.pop }; #{waiting}",
    "any other, and is the main one" => "Thread.new { #{waiting} }.then { |thread| r.read(1); thread.join }",
    "any other, and waits for another one" => "Thread.new { r.read(1); Thread.new { Queue.new.pop }.join }; #{waiting}"
  }.each do |what, script|
    it "is raised where a thread that runs no fibers gets stuck later than #{what}" do
      out = Child.ruby!("#{asked}; r, w = IO.pipe; $asked = -> { w.syswrite('7') }; begin; #{script}; rescue Polyphony::Deadlock => e; puts e.message; end; " \
                        "Thread.list.each { |each| each.kill unless each == Thread.main }")
      expect(out).to match(/\Ano fiber can go on: .*\n/).and match(/stuck .*waiting/)
    end
  end

  {
    "sleeps" => "#{other}; spin { sleep }; sleep",
    "waits for another thread" => "#{asked}; r, w = IO.pipe; $asked = -> { w.syswrite('7') }; queue = Queue.new; " \
                                  "Thread.new { queue << r.read(1) }; exit!(spin { queue.pop }.await.to_i)",
    "has a signal handler" => "#{asked}; $asked = -> { Process.kill(:USR1, $$) }; trap(:USR1) { exit!(7) }; spin { suspend }.await",
    "has two threads that answer each other" => "me = Fiber.current; Thread.new { me << Fiber.current; loop { receive << true } }; peer = receive; " \
                                                "20_000.times { peer << me; receive }; exit!(7)",
    "goes on while it is looked at" => "Polyphony::Deadlock.singleton_class.prepend(Module.new { private def went_on?(*) = $queue.push(7).then { super } }); " \
                                       "$queue = Queue.new; Thread.new { exit!(spin { $queue.pop }.await) }; spin { suspend }.await",
    "waits for a descriptor" => "#{other}; r, w = IO.pipe; spin { r.gets }.await; w.close"
  }.each do |what, script|
    it "is not raised where the program #{what}" do
      _, err, status = Child.ruby(script)
      expect([err, status.exitstatus]).to eq ["", 7]
    end
  end
end
