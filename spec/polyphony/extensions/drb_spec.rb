# frozen_string_literal: true

require "drb"

RSpec.describe DRb do
  # A client's connections are lent by such a one.
  it "lends connections on, where a fiber is ended in the moment in which it asks for one" do
    asked, go_on = Thread::Queue.new, Thread::Queue.new
    lender = DRb::ThreadObject.new { |calls| calls._execute { |call| asked << call; go_on.pop } while true }
    fiber = spin { lender.take(1) }
    asked.pop
    fiber.stop
    go_on << :first
    fiber.await
    go_on << :second
    expect(move_on_after(5, with_value: :late) { lender.take(2) }).to eq :second
  ensure
    lender&.kill
  end
end
