# frozen_string_literal: true

require_relative "../shield"

module Polyphony
  module Extensions
    # What lends DRb's clients their connections, in a thread of its own. Who has asked it has to take the answer:
    # it would wait for that for ever, and everybody else for it. Loaded by {Late}.
    #
    # @see ::DRb::ThreadObject
    module ThreadObject
      # @note Suspends the calling fiber until there is an answer, which comes soon; one that is ended meanwhile ends then.
      def method_missing(...) = Polyphony.scheduler ? Polyphony.shield { super } : super # rubocop:disable Style/MissingRespondToMissing

      ::DRb::ThreadObject.prepend(self)
    end
  end
end
