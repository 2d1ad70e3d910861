# frozen_string_literal: true

RSpec.describe Polyphony::FiberScheduler do
  it "serves Ruby's own scheduler interface" do
    out = Child.ruby!(<<~RUBY, loaded: "polyphony/bare")
      order = []
      Thread.new do
        Fiber.set_scheduler(Polyphony::FiberScheduler.new)
        reader, writer = IO.pipe
        Fiber.schedule { order << reader.gets }
        Fiber.schedule { sleep 0.002; order << :slept; writer.puts "line" }
        Fiber.schedule { order << Queue.new([:item]).pop }
      end.join
      p order
    RUBY
    expect(out).to eq "[:item, :slept, \"line\\n\"]\n"
  end
end
