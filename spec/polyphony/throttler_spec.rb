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
    throttler = described_class.new(interval: 0.01)
    throttler.call { sleep 0.05 }
    expect(elapsed { 4.times { throttler.call { nil } } }).to be >= 0.02
  end
end
