# frozen_string_literal: true

module Polyphony
  module Extensions
    # Exceptions that know where they come from.
    #
    # @see ::Exception
    module Exception
      # @return [Fiber, nil] the spun fiber that the exception ended; nil where it ended none
      attr_reader :source_fiber
      alias raising_fiber source_fiber
    end
  end
end
