# frozen_string_literal: true

RSpec.describe Polyphony::Scheduler do
  it "leaves a foreign fiber scheduler alone, and says so" do
    out = Child.ruby!(<<~RUBY)
      class Other
        def block(*) = nil
        def unblock(*) = nil
        def kernel_sleep(*) = nil
        def io_wait(*) = nil
        def fiber(*) = nil
        def close = nil
      end
      Fiber.set_scheduler(Other.new)
      begin
        spin { nil }
      rescue RuntimeError => e
        puts e.message
      end
    RUBY
    expect(out).to include "Other serves this thread already"
  end
end
