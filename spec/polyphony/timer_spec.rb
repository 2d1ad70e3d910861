# frozen_string_literal: true

RSpec.describe Polyphony::Timer do
  let(:timer) { described_class.new(:timer, resolution: 0.01) }

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
    expect(timer.move_on_after(5) { :in_time }).to eq :in_time
  end

  # One entry a fiber: nested timeouts overwrote each other.
  it "nests" do
    expect(timer.move_on_after(0.002, with_value: :outer) { timer.move_on_after(5, with_value: :inner) { sleep } }).to eq :outer
    expect(timer.move_on_after(5, with_value: :outer) { [timer.move_on_after(0.002, with_value: :inner) { sleep }] }).to eq [:inner]
  end

  it "starts the time anew of the calling fiber's innermost timeout" do
    result = timer.move_on_after(0.05, with_value: :late) { 8.times { sleep 0.01; timer.reset }; :done }
    expect(result).to eq :done
  end

  it "forgets its timeouts when it is stopped" do
    fiber = spin { timer.move_on_after(0.005, with_value: :late) { sleep 0.02; :in_time } }
    snooze
    timer.stop
    expect(fiber.await).to eq :in_time
  end
end
