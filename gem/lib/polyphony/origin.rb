# frozen_string_literal: true

module Polyphony
  # Where an exception comes from: noted when it leaves the fiber that it ends, not when it is made, so
  # that exceptions that nobody scheduled cost what they always did.
  #
  # An exception that is dumped keeps the lines, for a fiber cannot be dumped.
  #
  # @api private
  class Origin
    # @return [Fiber, nil] the fiber that it ended
    attr_reader :fiber

    def initialize(fiber)
      @fiber = fiber
      @lines = nil
    end

    # Where the fiber was spun, and the fibers above it.
    # @return [Array<String>]
    def lines = @lines || @fiber.caller

    # @return [Array<String>]
    def marshal_dump = lines

    # @return [void]
    def marshal_load(lines)
      @lines = lines
    end
  end
end
