# frozen_string_literal: true

require_relative "../elsewhere"

module Polyphony
  module Extensions
    # Other fibers run while the prompt waits. Where Readline is Ruby's C extension the library waits in C, so
    # it does in a thread of its own. Reline waits as every IO does; where it goes by the name of Readline,
    # nothing is to be done. Loaded by {Late}.
    module Readline
      # @see ::Readline.readline
      # @note Suspends the calling fiber until there is a line.
      def readline(*arguments)
        return super unless Polyphony.scheduler

        Polyphony.elsewhere { super(*arguments) }
      end

      # The same for who includes Readline, as IRB does.
      Included = dup
      Included.send(:private, :readline)

      unless ::Readline.method(:readline).source_location
        ::Readline.singleton_class.prepend(self)
        ::Readline.prepend(Included)
      end
    end
  end
end
