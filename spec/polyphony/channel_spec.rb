# frozen_string_literal: true

RSpec.describe Polyphony::Channel do
  let(:channel) { described_class.new }

  it "hands messages over in their order" do
    reader = spin { [channel.receive, channel.receive] }
    snooze
    channel << 1 << 2
    expect(reader.await).to eq [1, 2]
  end

  it "interrupts those that wait when it is closed" do
    log = []
    readers = Array.new(2) { spin { channel.receive; log << :not } }
    snooze
    channel.close
    expect([Fiber.await(*readers), log, channel.closed?]).to eq [[nil, nil], [], true]
  end

  it "gives what is left after it was closed, then nil" do
    channel << :left
    channel.close
    expect([channel.receive, channel.receive]).to eq [:left, nil]
  end
end
