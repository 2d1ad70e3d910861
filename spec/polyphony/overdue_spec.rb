# frozen_string_literal: true

require "timeout"

RSpec.describe Polyphony::Overdue do
  def replace_raise(with)
    described_class.class_eval do
      former = remove_const(:RAISE)
      const_set(:RAISE, with)
      private_constant :RAISE
      former
    end
  end

  # A timeout was heard in the block behind its own, or in another fiber.
  it "raises a timeout in its own block, though who raises it loses its turn in the middle of that" do
    begun = ended = false
    slow = Object.new
    real = replace_raise(slow)
    slow.define_singleton_method(:bind_call) do |thread, marker|
      begun = true
      100.times { Thread.pass }
      real.bind_call(thread, marker)
      ended = true
    end
    block = proc do
      Thread.pass until begun
      snooze
    end
    expect { Timeout.timeout(0.001, &block) }.to raise_error(Timeout::Error)
    expect { Thread.pass until ended }.not_to raise_error
  ensure
    replace_raise(real)
  end
end
