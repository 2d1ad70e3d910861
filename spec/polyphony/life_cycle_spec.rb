# frozen_string_literal: true

RSpec.describe Polyphony::LifeCycle do
  # A fiber made of the steps that spin takes.
  def prepared(tag = :made, parent: Fiber.current, first: nil, &block)
    fiber = Fiber.new { fiber.run(first) }
    fiber.prepare(tag, block, caller, parent)
    parent&.add_child(fiber)
    fiber
  end

  everywhere do
    it "makes of Fiber.new what spin makes" do
      fiber = prepared { snooze; :result }
      expect([fiber.state, fiber.parent, fiber.tag, Fiber.current.children.last]).to eq [:runnable, Fiber.current, :made, fiber]
      expect([fiber.await, fiber.dead?, Fiber.current.children.include?(fiber)]).to eq [:result, true, false]
    end

    it "ends its children, and hands its error to its parent" do
      child = fiber = nil
      # Made where it is awaited: what RSpec loads for the matcher may let it run first.
      expect { (fiber = prepared { child = spin { suspend }; snooze; raise IOError, "made" }).await }
        .to raise_error(IOError, "made") { |error| expect(error.source_fiber).to equal fiber }
      expect(child.dead?).to be true
    end
  end

  it "can be stopped before it runs, restarted, and awaited" do
    ran = []
    stopped = prepared { ran << :stopped }
    stopped.stop(:early)
    restarted = prepared { |value| ran << value; value ? :twice : suspend }
    2.times { snooze }
    restarted.restart(2)
    expect([stopped.await, restarted.await, ran]).to eq [:early, :twice, [nil, 2]]
  end

  describe "#prepare" do
    it "refuses a fiber that was spun or runs, and none to run" do
      expect { spin { nil }.tap(&:await).prepare(:tag, -> {}, nil, nil) }.to raise_error FiberError, /was spun already/
      expect { Fiber.current.prepare(:tag, -> {}, nil, nil) }.to raise_error FiberError
      expect { Fiber.new { nil }.prepare(:tag, nil, nil, nil) }.to raise_error ArgumentError, "a fiber needs a block to run"
      expect { Fiber.new { nil }.prepare(:tag, 3, nil, nil) }.to raise_error TypeError, "a fiber cannot run Integer"
      expect { Fiber.new { nil }.prepare(:tag, -> {}, nil, []) }.to raise_error TypeError, /only a Fiber can be a parent/
    end

    # Its place in the scheduler stayed taken.
    it "leaves nothing of a fiber that ends without the last steps" do
      before = Thread.current.backend.stats[:fibers]
      Fiber.new { :mine }.prepare(:tag, -> {}, nil, nil)
      Fiber.new { :mine }.setup_raw.schedule
      2.times { snooze }
      expect(Thread.current.backend.stats[:fibers]).to eq before
    end
  end

  describe "#inform_monitors" do
    it "wakes no parent with what is no exception" do
      spin { Fiber.current.inform_monitors(:value, true) }.await
      expect(move_on_after(0.001, with_value: :slept) { sleep }).to eq :slept
    end
  end

  describe "#run" do
    it "gives the block its first value, and raises an exception" do
      expect(prepared(first: 3) { |value| value + 1 }.await).to eq 4
      moved = prepared(first: Polyphony::MoveOn.new(:moved)) { raise "it ran" }
      expect(moved.await).to eq :moved
    end

    it "gives the block what the fiber was scheduled with, first" do
      fiber = prepared(first: 3) { |value| value }
      fiber.schedule(:scheduled)
      expect(fiber.await).to eq :scheduled
    end

    it "takes a block of any arity, and whatever can be called" do
      fiber = Fiber.new { fiber.run(1) }
      expect(fiber.prepare(nil, -> { :none }, nil, nil).await).to eq :none
      method = Fiber.new { method.run(5) }
      expect(method.prepare(nil, 2.method(:+), nil, nil).await).to eq 7
    end

    it "is the fiber's own first word" do
      expect { Fiber.current.run }.to raise_error FiberError, /has just begun/
      expect { spin { Fiber.current.run }.await }.to raise_error FiberError
      expect { Fiber.new { nil }.run }.to raise_error FiberError
    end
  end

  describe "#restart_self" do
    it "runs the block again, cleaned up and with its value" do
      seen = []
      fiber = spin do |value|
        seen << value
        value ? :done : Fiber.current.restart_self(:again)
      ensure
        seen << :cleaned
      end
      expect([fiber.await, seen]).to eq [:done, [nil, :cleaned, :again, :cleaned]]
    end

    it "restarts another fiber as restart does" do
      fiber = spin { |value| value || suspend }
      snooze
      fiber.restart_self(:again)
      expect(fiber.await).to eq :again
    end
  end

  describe "#finalize" do
    it "ends the fiber with a result, and its clean-up runs" do
      cleaned = false
      expect(spin { Fiber.current.finalize(:result); raise "it went on" }.await).to eq :result
      failing = spin do
        Fiber.current.finalize(IOError.new("failed"), true)
      ensure
        cleaned = true
      end
      expect { failing.await }.to raise_error IOError, "failed"
      expect(cleaned).to be true
    end

    it "is for the fiber itself" do
      fiber = spin { suspend }
      expect { fiber.finalize(1) }.to raise_error FiberError, /use stop/
      expect { Fiber.current.finalize(1) }.to raise_error FiberError
      fiber.stop
      fiber.await
    end
  end

  describe "#finalize_children" do
    it "ends the children and returns what it was given, or what went wrong" do
      outcome = spin do
        child = spin { suspend }
        snooze
        first = Fiber.current.finalize_children(:result, false)
        spin { begin suspend ensure raise IOError, "clean-up" end }
        snooze
        [child.dead?, first, Fiber.current.finalize_children(:result, false)]
      end.await
      expect(outcome).to match [true, [:result, false], [an_instance_of(IOError), true]]
    end
  end

  describe "#inform_monitors" do
    it "tells the monitors, and the parent of an error of which it does not hear that way" do
      monitor = spin { suspend }
      fiber = spin { suspend }
      fiber.monitor(monitor)
      fiber.inform_monitors(:so_far)
      expect(monitor.monitor_mailbox.shift).to eq [fiber, :so_far]
      fiber.inform_monitors(IOError.new("told"), true)
      expect { snooze }.to raise_error IOError, "told"
      expect(monitor.monitor_mailbox.shift_all).to match [[fiber, an_instance_of(IOError)]]
      [fiber, monitor].each(&:stop)
      Fiber.await(fiber, monitor)
    end
  end
end
