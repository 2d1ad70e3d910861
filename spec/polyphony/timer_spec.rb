# frozen_string_literal: true

RSpec.describe Polyphony::Timer do
  let(:timer) { described_class.new(:timer, resolution: 0.01) }

  def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  it "sleeps, and runs later and again" do
    expect(timer.sleep(0.001)).to be_nil
    expect(timer.after(0.001) { :later }.await).to eq :later
    rounds = 0
    expect(timer.every(0.001) { break :broken if (rounds += 1) == 3 }).to eq :broken
  end

  it "cancels, and moves on" do
    expect { timer.cancel_after(0.001) { sleep } }.to raise_error Polyphony::Cancel
    expect { timer.cancel_after(0.001, with_exception: IOError) { sleep } }.to raise_error IOError
    expect(timer.move_on_after(0.001, with_value: :late) { sleep }).to eq :late
    expect(timer.move_on_after(60) { :in_time }).to eq :in_time
  end

  # One entry a fiber: nested timeouts overwrote each other.
  it "nests" do
    expect(timer.move_on_after(0.002, with_value: :outer) { timer.move_on_after(60, with_value: :inner) { sleep } }).to eq :outer
    expect(timer.move_on_after(60, with_value: :outer) { [timer.move_on_after(0.002, with_value: :inner) { sleep }] }).to eq [:inner]
  end

  it "starts the time anew of the calling fiber's innermost timeout" do
    # However long the machine pauses: a time that nobody has started anew is up before the loop is over.
    lasted = Array.new(50).any? do
      timer.move_on_after(60, with_value: :outer) do
        began = clock
        timer.move_on_after(0.004, with_value: false) do
          while clock < began + 0.008 do sleep 0.001; timer.reset end
          true
        end
      end
    end
    expect(lasted).to be true
    expect(timer.move_on_after(60) { timer.move_on_after(0.001, with_value: :inner) { timer.reset; sleep } }).to eq :inner
  end

  it "forgets its timeouts when it is stopped" do
    expect(timer.move_on_after(0.001, with_value: :late) { timer.stop; sleep 0.002; :in_time }).to eq :in_time
  end

  it "forgets those of other fibers, too" do
    fiber = spin { timer.move_on_after(60, with_value: :late) { suspend } }
    snooze
    before = Thread.current.backend.stats[:timers]
    timer.stop
    expect(Thread.current.backend.stats[:timers]).to eq before - 1
    fiber.schedule(:in_time)
    expect(fiber.await).to eq :in_time
  end
end
