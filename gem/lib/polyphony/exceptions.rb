# frozen_string_literal: true

module Polyphony
  # What ends or moves a fiber from outside. None is a StandardError: a plain `rescue` lets them pass.
  class BaseException < ::Exception
    # @return [Object] what the fiber's result becomes
    attr_reader :value

    # @param value [Object] what the fiber's result becomes
    def initialize(value = nil)
      @value = value
      super(value.is_a?(String) ? value : self.class.name)
    end
  end

  # Ends a fiber; its result is the value.
  class MoveOn < BaseException; end

  # Ends a fiber with an error that its parent hears of.
  class Cancel < BaseException; end

  # Ends a fiber because its parent ends, or because somebody said so.
  class Terminate < BaseException; end

  # Runs a fiber's block again from the top.
  class Restart < BaseException; end

  # Marks one timeout among nested ones; it never leaves the call that armed it.
  class TimeoutException < ::Exception; end

  # A block to be called in another fiber, as an exception; {Supervision#interject} needs none.
  class Interjection < ::Exception
    # @param block [Proc]
    def initialize(block)
      @block = block
      super()
    end

    # Calls the block.
    def invoke = @block.call
  end

  # The call makes no sense on this fiber: it was never spun, or it awaits itself.
  class FiberError < ::FiberError; end
end
