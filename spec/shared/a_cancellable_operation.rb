# frozen_string_literal: true

# What every operation that suspends does when its fiber is cancelled; `make` gives one, new each time, by
# `operation`. One that is `kept` has lost nothing: what it was cancelled out of is there for the next.
RSpec.shared_examples "a cancellable operation" do |kept:|
  let!(:one) { make }

  def parked(one)
    spin { one.call }.tap { |fiber| 4.times { snooze } }
  end

  # It waits, and completes.
  def works(one)
    fiber = parked(one)
    one.complete(fiber)
    expect(fiber.await).to eq one.result
  end

  # A new one, when nothing is left of the one before.
  def another(one)
    one.over
    make
  end

  it "does nothing when it is cancelled before it has begun" do
    fiber = spin { one.call }
    fiber.stop(:stopped)
    expect(fiber.await).to eq :stopped
    works(one)
  end

  it "does nothing when it begins while a cancellation is due" do
    fiber = spin do
      Polyphony.shield { snooze; raise IOError }
    rescue IOError
      one.call
    end
    snooze
    fiber.stop(:stopped)
    expect(fiber.await).to eq :stopped
    works(kept ? one : another(one))
  end

  it "lets go when it is cancelled while it waits" do
    fiber = parked(one)
    fiber.stop(:stopped)
    expect(fiber.await).to eq :stopped
    works(kept ? one : another(one))
  end

  it "lets go when its time is up" do
    expect(move_on_after(0.001, with_value: :late) { one.call }).to eq :late
    works(kept ? one : another(one))
  end

  it "is as if it had not been when it is cancelled in the turn in which it completes" do
    fiber = parked(one)
    one.complete(fiber)
    fiber.stop(:stopped)
    if kept
      expect([fiber.await, spin { one.call }.await]).to eq [:stopped, one.result]
    else
      expect(fiber.await).to eq(:stopped).or eq(one.result)
      works(another(one))
    end
  end

  it "is as if it had not been when it completes in the turn in which it is cancelled" do
    fiber = parked(one)
    fiber.stop(:stopped)
    one.complete(fiber)
    expect(fiber.await).to eq :stopped
    kept ? expect(spin { one.call }.await).to(eq(one.result)) : works(another(one))
  end
end
