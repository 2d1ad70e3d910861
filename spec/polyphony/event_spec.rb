# frozen_string_literal: true

RSpec.describe Polyphony::Event do
  let!(:event) { described_class.new }

  everywhere do
    it "wakes the fiber that waits, with the signal's value" do
      waiter = spin { event.await }
      snooze
      expect(event.signal(:value)).to equal event
      expect(waiter.await).to eq :value
    end

    it "remembers a signal that came first, once, and of several the last" do
      event.signal(1).signal(2)
      expect(event.await).to eq 2
      expect(move_on_after(0.001, with_value: :waits) { event.await }).to eq :waits
    end

    it "is signalled from other threads" do
      Thread.new { event.signal(:from_there) }
      expect(event.await).to eq :from_there
    end
  end

  # The original's Event and Thread#join raced (R49).
  it "loses none of thousands of signals between threads" do
    rounds = GC.stress ? 20 : 1_000
    there, back = event, described_class.new
    thread = Thread.new { rounds.times { |number| raise "lost" unless there.await == number; back.signal(number) } }
    rounds.times { |number| there.signal(number); raise "lost" unless back.await == number }
    thread.join
  end

  it "lets one fiber wait only" do
    waiter = spin { event.await }
    snooze
    expect { event.await }.to raise_error RuntimeError, "Event is already awaited by another fiber"
    event.signal(:still)
    expect(waiter.await).to eq :still
  end

  it "lets one fiber wait only where two threads come at once" do
    other = nil
    in_between = TracePoint.new(:call, :c_call) do |call|
      next unless call.method_id == :scheduler! && other.nil?

      other = Thread.new { event.await }
      Thread.pass until other.status == "sleep"
    end
    in_between.enable do
      expect { event.await }.to raise_error RuntimeError, "Event is already awaited by another fiber"
    end
    event.signal(:heard)
    expect(other.value).to eq :heard
  end

  it "leaves the signal to the next when the waiter is stopped" do
    waiter = spin { event.await }
    snooze
    waiter.stop(:stopped)
    event.signal(:kept)
    expect([waiter.await, event.await]).to eq %i[stopped kept]
  end

  it "ends early with what the fiber is scheduled with" do
    waiter = spin { event.await }
    snooze
    waiter.schedule(:scheduled)
    expect(waiter.await).to eq :scheduled
  end

  it "wakes a fiber that another one has resumed" do
    waiter = spin { Fiber.new { event.await }.resume }
    snooze
    event.signal(:inside)
    expect(waiter.await).to eq :inside
  end
end
