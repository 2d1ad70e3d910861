# frozen_string_literal: true

RSpec.describe Polyphony::Process do
  def alive?(pid)
    Process.kill(0, pid)
    true
  rescue Errno::ESRCH
    false
  end

  describe ".watch" do
    it "runs a command to its end" do
      expect(described_class.watch("exit 3").exitstatus).to eq 3
    end

    it "runs a block in a fork" do
      reader, writer = pipe
      status = Polyphony.watch_process { writer << "from the child"; writer.close; exit! 4 }
      writer.close
      expect([status.exitstatus, reader.read]).to eq [4, "from the child"]
    end

    it "ends the process with the fiber, whose clean-up runs" do
      reader, writer = pipe
      fiber = spin { described_class.watch { begin; writer.puts Process.pid; sleep; ensure; writer.puts "cleaned"; end } }
      pid = Integer(reader.gets)
      fiber.stop(:stopped)
      writer.close
      expect([fiber.await, reader.read, alive?(pid)]).to eq [:stopped, "cleaned\n", false]
    end

    it "starts a process again where it is supervised" do
      reader, writer = pipe
      boss = spin do
        runs = 0
        worker = spin { Polyphony.watch_process { writer.puts "run"; runs += 1; exit!(0) } }
        supervise(worker, restart: :always)
      end
      expect(Array.new(3) { reader.gets }).to eq ["run\n"] * 3
      boss.terminate
      boss.await
    end

    it "needs something to run" do
      expect { described_class.watch }.to raise_error ArgumentError
    end
  end

  describe ".kill_process" do
    # The original killed a process group that was none.
    it "ends a process that will not hear of it" do
      stub_const_patience(0.02) do
        reader, writer = pipe
        pid = spawn("trap '' TERM; echo ready; while true; do sleep 0.1; done", out: writer, pgroup: true)
        reader.gets
        expect(described_class.kill_process(pid).termsig).to eq 9
        Process.kill(:KILL, -pid)
      end
    rescue Errno::ESRCH
      nil # its last sleep is over
    end

    it "says nothing of a process that is gone" do
      pid = spawn("true")
      Process.wait(pid)
      expect(described_class.kill_process(pid)).to be_nil
    end

    def stub_const_patience(seconds)
      earlier = described_class::PATIENCE
      change_patience(seconds)
      yield
    ensure
      change_patience(earlier)
    end

    def change_patience(seconds)
      described_class.send(:remove_const, :PATIENCE)
      described_class.const_set(:PATIENCE, seconds)
    end
  end

  describe "Polyphony.fork" do
    # A child's exit status was lost: 0, whatever it said.
    { "exit 3" => 3, "spin { exit 4 }.await" => 4, "exit!(5)" => 5, "raise Polyphony::MoveOn" => 0, "spin { suspend }; snooze" => 0,
      "$stderr.reopen('/dev/null'); raise 'no'" => 1 }.each do |block, status|
      it "ends with #{status} for `#{block}`" do
        out = Child.ruby!("spin { nil }.await; pid = Polyphony.fork { #{block} }; print Process.wait2(pid)[1].exitstatus")
        expect(out).to eq status.to_s
      end
    end

    it "says what a child that fails failed of" do
      _, err, = Child.ruby("Process.wait(Polyphony.fork { raise 'the reason' })")
      expect(err).to include "the reason"
    end

    it "does not give the child its parent's handlers" do
      out = Child.ruby!(<<~RUBY)
        Polyphony.scheduler!
        trap(:TERM) { puts "the parent's" }
        reader, writer = IO.pipe
        pid = Polyphony.fork { begin; writer << "ready\\n"; sleep; rescue SignalException => e; puts e.message; exit!(0) if $stdout.flush; end }
        reader.gets
        Process.kill(:TERM, pid)
        Process.wait(pid)
      RUBY
      expect(out).to eq "SIGTERM\n"
    end
  end

  describe "Process.detach" do
    it "is a fiber that knows the pid and gives the status" do
      pid = spawn("exit 42")
      detached = Process.detach(pid)
      expect([detached.class, detached.pid, detached.await.exitstatus, detached.value.pid]).to eq [Fiber, pid, 42, pid]
    end

    it "is a thread as ever where no fibers run" do
      expect(Thread.new { Process.detach(spawn("exit 1")).class }.value).to be < Thread
    end
  end

  it "makes a status of what waitpid(2) says" do
    made = [[7, 256], [8, 9]].map { |pair| Process::Status.from_status_array(pair) }
    expect([made.map(&:class).uniq, made.map(&:pid), made[0].exitstatus, made[1].termsig]).to eq [[Process::Status], [7, 8], 1, 9]
  end

  # The original's raised NoMethodError, when it was a daemon already.
  it "may become a daemon, which runs fibers" do
    reader, writer = IO.pipe
    pid = fork do
      reader.close
      Process.daemon(true, true)
      writer.write spin { sleep 0.001; Fiber.current.parent.main?.inspect }.await
      exit!(0)
    end
    Process.wait(pid)
    writer.close
    expect(reader.read).to eq "true"
    reader.close
  end
end
