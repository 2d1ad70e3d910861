# frozen_string_literal: true

RSpec.describe Process do
  everywhere "the main fiber", "a spun fiber" do
    it "waits for a child while others run" do
      ticks = 0
      ticker = spin { loop { ticks += 1; sleep 0.0005 } }
      pid = spawn("sleep 0.02; exit 7")
      expect([Process.wait(pid), $?.exitstatus]).to eq [pid, 7]
      expect(ticks).to be > 1
      ticker.stop
      ticker.await
    end

    it "runs commands while others run, $? as ever" do
      ticks = 0
      ticker = spin { loop { ticks += 1; sleep 0.0005 } }
      expect([`sleep 0.01; echo out`, $?.exitstatus, system("sleep 0.01; exit 3"), $?.exitstatus]).to eq ["out\n", 0, false, 3]
      expect(ticks).to be > 1
      ticker.stop
      ticker.await
    end
  end

  it "hears of a child that stops, where it is asked for" do
    pid = spawn("sleep 100")
    Process.kill("STOP", pid)
    stopped = Process.wait2(pid, Process::WUNTRACED).last
    Process.kill("KILL", pid)
    ended = Process.wait2(pid, Process::WUNTRACED).last
    expect([stopped.stopped?, ended.signaled?]).to eq [true, true]
  end

  it "leaves the child to the next waiter when a wait is cancelled" do
    pid = spawn("read line; exit 5", in: (reader, writer = pipe)[0])
    reader.close
    waiter = spin { Process.wait(pid) }
    2.times { snooze }
    waiter.stop
    waiter.await
    writer.puts
    expect([Process.wait(pid), $?.exitstatus]).to eq [pid, 5]
  end

  it "gives each fiber the status of its own child" do
    codes = 4.times.map { |code| spin { system("exit #{code}"); $?.exitstatus } }
    expect(Fiber.await(*codes)).to eq [0, 1, 2, 3]
  end

  it "refuses numbers that are none of a process as the original does" do
    calls = [2**40, -2**40, 2**80, "x", nil].flat_map { |pid| %i[wait wait2 detach].map { |name| [name, pid] } } + [[:wait, 1, 2**40]]
    refused = -> { calls.map { |call| Process.public_send(*call) rescue "#{$!.class}: #{$!.message}" } }
    expect(spin(&refused).await).to eq Thread.new(&refused).value
  end
end

RSpec.describe "fork" do
  it "makes a child that sleeps, reads and spins" do
    reader, writer = pipe
    writer << "from the parent\n"
    expect(Child.forked { sleep 0.001; [reader.gets, spin { snooze; :spun }.await, Fiber.current.children.size] })
      .to eq ["from the parent\n", :spun, 0]
  end

  it "leaves the parent's fibers and operations to the parent" do
    reader, writer = pipe
    waiting = spin { reader.gets }
    sleeping = spin { sleep 0.005; :slept }
    2.times { snooze }
    expect(Child.forked { Thread.current.backend.stats.values_at(:pending_ops, :timers) }).to eq [0, 0]
    writer << "line\n"
    expect([waiting.await, sleeping.await]).to eq ["line\n", :slept]
  end

  it "works from a spun fiber, whose child begins as a main fiber" do
    expect(spin { Child.forked { [Fiber.current.main?, spin { sleep 0.001; 1 }.await] } }.await).to eq [true, 1]
  end

  it "may be nested" do
    expect(Child.forked { Child.forked { spin { sleep 0.001; :grandchild }.await } }).to eq :grandchild
  end

  it "ends with the status that the child gives, fibers or not" do
    codes = ["exit 3", "spin { suspend }; snooze; exit 4", "spin { exit 5 }.await", "exit!(6)", "spin { sleep 0.001 }.await"]
    script = codes.map { |code| "pid = fork { #{code} }; print Process.wait2(pid)[1].exitstatus, ' '" }.join(";")
    expect(Child.ruby!("spin { nil }.await; #{script}")).to eq "3 4 5 6 0 "
    expect(Child.ruby!(script)).to eq "3 4 5 6 0 "
  end

  it "runs a child's clean-up at its end" do
    out = Child.ruby!("pid = fork { spin { begin; suspend; ensure; puts :cleaned; end }; snooze }; Process.wait(pid); puts :parent")
    expect(out).to eq "cleaned\nparent\n"
  end

  it "has Polyphony.fork, too" do
    pid = Polyphony.fork { spin { sleep 0.001 }.await; exit!(9) }
    expect(Process.wait2(pid)[1].exitstatus).to eq 9
  end
end
