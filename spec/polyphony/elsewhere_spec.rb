# frozen_string_literal: true

RSpec.describe Polyphony::Elsewhere do
  before { Polyphony.scheduler! }

  def elsewhere(&block) = Polyphony.elsewhere(&block)

  it "runs a block in another thread, and gives its value or raises its error" do
    expect(elsewhere { Thread.current } == Thread.current).to be false
    expect { elsewhere { raise IOError, "there" } }.to raise_error IOError, "there"
  end

  # A program may kill whatever Thread.list has.
  it "runs a block all the same whose thread was killed before it began" do
    thread = elsewhere { Thread.current }
    sleep 0 until described_class.idle.any? { |one| one.thread == thread }
    thread.kill
    expect(elsewhere { :value }).to eq :value
  end

  it "tells of a block whose thread was killed in the middle" do
    expect { elsewhere { Thread.current.kill } }.to raise_error ThreadError, /was killed/
  end

  it "gives no call to a thread that it has stopped, which may not have heard of that yet" do
    stopped = described_class.new.tap(&:stop)
    described_class.idle.push(stopped)
    expect(stopped).not_to be_usable
    expect(elsewhere { Thread.current } == stopped.thread).to be false
  end
end
