# frozen_string_literal: true

# What every operation that suspends does when its fiber is cancelled; `make` gives one, new each time, by
# `operation`. One that is `kept` has lost nothing: what it was cancelled out of is there for the next.
RSpec.shared_examples "a cancellable operation" do |kept:|
  let!(:it) { make }

  def parked(it)
    spin { it.call }.tap { |fiber| 4.times { snooze } }
  end

  # It waits, and completes.
  def works(it)
    fiber = parked(it)
    it.complete(fiber)
    expect(fiber.await).to eq it.result
  end

  # A new one, when nothing is left of the one before.
  def another(it)
    it.over
    make
  end

  it "does nothing when it is cancelled before it has begun" do
    fiber = spin { it.call }
    fiber.stop(:stopped)
    expect(fiber.await).to eq :stopped
    works(it)
  end

  it "does nothing when it begins while a cancellation is due" do
    fiber = spin do
      Polyphony.shield { snooze; raise IOError }
    rescue IOError
      it.call
    end
    snooze
    fiber.stop(:stopped)
    expect(fiber.await).to eq :stopped
    works(kept ? it : another(it))
  end

  it "lets go when it is cancelled while it waits" do
    fiber = parked(it)
    fiber.stop(:stopped)
    expect(fiber.await).to eq :stopped
    works(kept ? it : another(it))
  end

  it "lets go when its time is up" do
    expect(move_on_after(0.001, with_value: :late) { it.call }).to eq :late
    works(kept ? it : another(it))
  end

  it "is as if it had not been when it is cancelled in the turn in which it completes" do
    fiber = parked(it)
    it.complete(fiber)
    fiber.stop(:stopped)
    if kept
      expect([fiber.await, spin { it.call }.await]).to eq [:stopped, it.result]
    else
      expect(fiber.await).to eq(:stopped).or eq(it.result)
      works(another(it))
    end
  end

  it "is as if it had not been when it completes in the turn in which it is cancelled" do
    fiber = parked(it)
    fiber.stop(:stopped)
    it.complete(fiber)
    expect(fiber.await).to eq :stopped
    kept ? expect(spin { it.call }.await).to(eq(it.result)) : works(another(it))
  end
end
