# frozen_string_literal: true

RSpec.describe "Polyphony.shield" do
  # A fiber in a shield, which has begun.
  def shielded(log, within: nil, &block)
    fiber = spin { Polyphony.shield(within: within) { block.call; log << :finished }; log << :beyond }
    snooze
    fiber
  end

  { "stop" => ->(fiber) { fiber.stop }, "terminate" => ->(fiber) { fiber.terminate },
    "cancel" => ->(fiber) { fiber.cancel }, "raise" => ->(fiber) { fiber.raise(IOError) },
    "schedule with an exception" => ->(fiber) { fiber.schedule(IOError.new) } }.each do |name, cancel|
    it "delays #{name} to its end" do
      log = []
      fiber = shielded(log) { 3.times { snooze } }
      cancel.call(fiber)
      begin
        fiber.await
      rescue IOError, Polyphony::Cancel => e
        log << e.source_fiber
      end
      expect(log - [fiber]).to eq [:finished]
    end
  end

  it "returns the block's value" do
    expect(Polyphony.shield { :value }).to eq :value
  end

  # Waits until no timer is left of those that were armed.
  def timers_over = (sleep 0.001 until Thread.current.backend.stats[:timers].zero?)

  it "delays a timeout that was armed outside, and its value is what it would have been" do
    log = []
    expect(move_on_after(0.001, with_value: :late) { Polyphony.shield { timers_over; log << :finished }; log << :not }).to eq :late
    expect(log).to eq [:finished]
  end

  it "lets timeouts work that are armed in it" do
    expect(Polyphony.shield { move_on_after(0.001, with_value: :late) { sleep } }).to eq :late
  end

  it "forgets a timeout whose block was over in time" do
    expect(Polyphony.shield { move_on_after(60) { :value } }).to eq :value
    fiber = spin { move_on_after(60) { Polyphony.shield { snooze } }; timers_over; :went_on }
    expect(fiber.await).to eq :went_on
  end

  it "delays a timeout no longer than the block that it is for" do
    fiber = spin { [move_on_after(0.001, with_value: :late) { Polyphony.shield { timers_over } }, snooze, :went_on] }
    expect(fiber.await).to eq [:late, nil, :went_on]
  end

  it "holds back a stop and timeouts, and loses none" do
    stopped = spin { move_on_after(0.001) { Polyphony.shield { sleep 0.01 }; sleep }; :went_on }
    snooze
    stopped.stop(:stopped)
    late = move_on_after(0.002, with_value: :outer) do
      move_on_after(0.001) { Polyphony.shield { sleep 0.01 }; sleep }
      sleep
    end
    expect([stopped.await, late]).to eq %i[stopped outer]
  end

  it "lets values through" do
    log = []
    fiber = shielded(log) { log << suspend }
    fiber.schedule(:value)
    fiber.await
    expect(log).to eq %i[value finished beyond]
  end

  it "nests: the outermost decides" do
    log = []
    fiber = shielded(log) { Polyphony.shield { snooze }; log << :inner; snooze }
    fiber.stop
    fiber.await
    expect(log).to eq %i[inner finished]
  end

  it "ends when its time is over: what was delayed is raised in it" do
    log = []
    fiber = shielded(log, within: 0.005) { sleep }
    fiber.stop(:stopped)
    expect([fiber.await, log]).to eq [:stopped, []]
  end

  it "goes on when its time is over and nobody wants the fiber to end" do
    expect(Polyphony.shield(within: 0.001) { sleep 0.01; :value }).to eq :value
  end

  it "lets its own error pass, and what was delayed comes at the next wait" do
    heard = []
    fiber = spin do
      Polyphony.shield { snooze; raise IOError, "own" }
    rescue IOError => e
      heard << e.message
      sleep
    end
    snooze
    fiber.stop(:stopped)
    expect([fiber.await, heard]).to eq [:stopped, ["own"]]
  end

  it "keeps a clean-up from a second cancellation" do
    log = []
    fiber = spin do
      suspend
    ensure
      Polyphony.shield { 5.times { snooze }; log << :cleaned }
    end
    snooze
    fiber.terminate
    snooze
    fiber.terminate
    fiber.await
    expect(log).to eq [:cleaned]
  end

  it "does not keep off a signal's Interrupt" do
    out = Child.ruby!(<<~RUBY)
      Polyphony.scheduler!
      spin { sleep 0.005; Process.kill(:INT, $$) }
      begin
        Polyphony.shield { sleep 20; print "late: " }
      rescue Interrupt => e
        print e.class
      end
    RUBY
    expect(out).to eq "Interrupt"
  end

  it "refuses what is no time, and to shield nothing" do
    expect { Polyphony.shield(within: -1) { nil } }.to raise_error ArgumentError
    expect { Polyphony.shield }.to raise_error ArgumentError
  end

  describe "terminate with a grace" do
    # A fiber whose clean-up takes as long as the block.
    def cleaning(log, &block)
      fiber = spin do
        suspend
      ensure
        begin
          Polyphony.shield(&block)
          log << :cleaned
        ensure
          log << :ended
        end
      end
      snooze
      fiber
    end

    it "lets a clean-up end in time" do
      log = []
      fiber = cleaning(log) { sleep 0.002 }
      fiber.terminate(graceful: true, grace: 60)
      expect(fiber.graceful_shutdown?).to be true
      fiber.await
      expect(log).to eq %i[cleaned ended]
    end

    it "ends a clean-up that takes longer, shielded or not" do
      log = []
      fiber = cleaning(log) { sleep }
      fiber.terminate(graceful: true, grace: 0.005)
      fiber.await
      expect(log).to eq [:ended]
    end

    it "ends children that take longer, and raises nothing in who waits" do
      log = []
      fiber = spin { cleaning(log) { sleep }; suspend }
      2.times { snooze }
      fiber.terminate(graceful: true, grace: 0.005)
      expect([fiber.await, log]).to eq [nil, [:ended]]
    end

    it "ends a clean-up that waits again and again" do
      log = []
      fiber = spin do
        suspend
      ensure
        3.times do
          sleep
        rescue Polyphony::Terminate
          log << :again
        end
      end
      snooze
      fiber.terminate(grace: 0.001)
      fiber.await
      expect(log).to eq [:again] * 3
    end

    # The main fiber heard of it, later.
    it "refuses what is no time, and ends nothing" do
      fiber = spin { snooze; :went_on }
      [-1, "1", Float::NAN, 1i].each do |grace|
        expect { fiber.terminate(grace: grace) }.to raise_error ArgumentError, /a grace is a time of zero or more/
      end
      expect(fiber.await).to eq :went_on
    end
  end
end
