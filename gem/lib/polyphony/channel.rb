# frozen_string_literal: true

require_relative "bare"

module Polyphony
  # A queue whose readers end with it: `close` interrupts them, as `stop` would.
  class Channel < ::Thread::Queue
    def initialize(...)
      super
      @receivers = {}.compare_by_identity
    end

    # Waits for a message.
    #
    # @return [Object, nil] nil where the channel is closed and empty
    # @raise [MoveOn] where the channel is closed meanwhile
    def receive
      @receivers[::Fiber.current] = true
      shift
    ensure
      @receivers.delete(::Fiber.current)
    end

    # Takes no more messages, and ends those that wait for one.
    #
    # @return [Channel] self
    def close
      @receivers.each_key { |fiber| Polyphony.schedule(fiber, MoveOn.new, false) } if empty?
      super
    end
  end
end
