# frozen_string_literal: true

RSpec.describe Polyphony::Watchdog do
  def busy(seconds)
    over = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds
    nil while Process.clock_gettime(Process::CLOCK_MONOTONIC) < over
  end

  # What is told of fibers that do so.
  def told(threshold: 0.005, fibers: 2, &work)
    stretches = []
    watchdog = described_class.new(threshold: threshold) { |stretch| stretches << stretch }
    Thread.new { Fiber.await(*Array.new(fibers - 1) { |number| spin(:"worker#{number}", &work) }) }.join
    stretches
  ensure
    watchdog&.stop
  end

  it "tells of a fiber that held its thread: which, until where, and for how long" do
    stretch = told { busy(0.01); snooze }.find { |each| each.fiber.tag == :worker0 }
    expect(stretch.seconds).to be >= 0.01
    expect(stretch.line).to start_with "#{__FILE__}:#{__LINE__ - 2}:in"
    expect(stretch.to_s).to match(/\Aworker0 \(fiber \d+\) held its thread for \d\.\d{3} s, until #{__FILE__}:\d+:in/)
  end

  it "tells of a fiber that ends without ever giving it away, and of calls in C" do
    stretches = told { "x" * 1_000 while (Array.new(200_000) { |n| -n }.sort!) && (busy(0.01) || false) }
    expect(stretches.map { |stretch| stretch.fiber.tag }).to include :worker0
  end

  it "tells nothing of fibers that wait, nor of one that is alone" do
    expect(told(threshold: 30) { sleep 0.001 }).to eq []
    expect(told(threshold: 0.001, fibers: 1) { nil }).to eq []
  end

  it "does not let the fiber feel what its block raises, and says so" do
    out = Child.ruby(<<~RUBY)
      watchdog = Polyphony::Watchdog.new(threshold: 0.000001) { raise "no" }
      puts spin { 10.times { Array.new(10_000) { |n| -n }; snooze }; :fine }.await
      watchdog.stop
    RUBY
    expect([out[0], out[1].scan("the watchdog's block failed").size > 5]).to eq ["fine\n", true]
  end

  it "writes to the standard error stream where there is no block" do
    _, err = Child.ruby("watchdog = Polyphony::Watchdog.new(threshold: 0.000001); work = -> { Array.new(10_000) { |n| -n }; snooze }; spin(:one, &work).await; watchdog.stop; spin(:two, &work).await")
    expect(err).to match(/^polyphony: one \(fiber \d+\) held its thread/).and(satisfy { |said| !said.include?("two") })
  end

  it "refuses what is no time" do
    expect { described_class.new(threshold: 0) }.to raise_error ArgumentError, "a threshold is a time above zero, not 0"
  end
end
