# frozen_string_literal: true

RSpec.describe Polyphony::Throttler do
  def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  def elapsed
    began = clock
    yield
    clock - began
  end

  [200, { rate: 200 }, { interval: 0.005 }].each do |rate|
    it "keeps to #{rate.inspect}" do
      throttler = rate.is_a?(Hash) ? described_class.new(**rate) : described_class.new(rate)
      expect(elapsed { 4.times { throttler.call { nil } } }).to be >= 0.015
    end
  end

  # A clock that only sleep moves.
  let(:timed) do
    Class.new(described_class) do
      attr_accessor :now

      private

      def clock = @now ||= 0
      def sleep(seconds) = @now += seconds
    end
  end

  def calls(throttler) = Array.new(4) { throttler.call { throttler.now } }

  it "keeps to the rate exactly" do
    expect(calls(timed.new(interval: 10))).to eq [0, 10, 20, 30]
  end

  it "gives the block's value, and itself to the block" do
    throttler = described_class.new(1000)
    expect(throttler.process { |given| given.equal?(throttler) }).to be true
  end

  it "refuses what is no rate" do
    [:foobar, {}, nil, 0, -1, { interval: -1 }, { rate: 0 }].each do |rate|
      expect { described_class.new(rate) }.to raise_error RuntimeError, /Invalid rate argument/
    end
  end

  it "does not make up for calls that were missed" do
    throttler = timed.new(interval: 10)
    throttler.call { throttler.now += 52 }
    expect(calls(throttler)).to eq [52, 60, 70, 80]
  end
end
