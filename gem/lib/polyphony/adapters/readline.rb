# frozen_string_literal: true

require "readline"
require_relative "../../polyphony"

module Polyphony
  # Adapters for libraries that hold their thread while they wait.
  module Adapters
    # Other fibers run while the prompt waits. Where Readline is Ruby's C extension the library waits in C, so
    # it does in a thread of its own; Reline waits as every IO does and needs no adapter.
    module Readline
      # @see ::Readline.readline
      # @note Suspends the calling fiber until there is a line.
      def readline(*arguments)
        return super unless Polyphony.scheduler

        Polyphony.elsewhere { super(*arguments) }
      end

      ::Readline.singleton_class.prepend(self)
    end
  end
end
