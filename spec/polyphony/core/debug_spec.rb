# frozen_string_literal: true

require "polyphony/core/debug"

RSpec.describe Polyphony::Trace do
  let(:backend) { Thread.current.backend }

  it "feeds a firehose" do
    events = []
    described_class.start_event_firehose { |event| events << event }
    fiber = spin { nil }
    fiber.await
    backend.trace_proc = nil
    expect(events.map { |event| event[:event] }).to start_with(:spin, :schedule)
    expect(events.first).to include(:stamp, :caller, fiber: fiber, source_fiber: Fiber.current)
    expect { described_class.start_event_firehose }.to raise_error ArgumentError
  ensure
    backend.trace_proc = nil
  end

  it "prints what one likes to see, without letting others run" do
    out = Child.ruby!(<<~RUBY)
      require "polyphony/core/debug"
      other = spin { trace(:other) }
      trace("x", 1)
      trace(:y)
      trace("z", 1, 2)
      trace("alone")
      other.await
    RUBY
    expect(out).to eq %(x: 1\n:y\nz: [1, 2]\n"alone"\n:other\n)
  end
end
