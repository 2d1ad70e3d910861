# frozen_string_literal: true

module Polyphony
  module Extensions
    # What a Logger writes to. Where it rescues whatever is raised while it writes, as the versions do that come with
    # Ruby 3.1 to 3.3, it complains and the program goes on: a `stop` or a timeout that came just then would be lost.
    # Loaded by {Late}.
    #
    # @see ::Logger::LogDevice
    module LogDevice
      # What comes from outside, and means more than the line.
      INTERRUPTIONS = [BaseException, TimeoutException, Interjection].freeze
      private_constant :INTERRUPTIONS

      private

      # The device complains from within its `rescue`, where the error can still go on its way.
      def warn(...)
        ::Kernel.raise if INTERRUPTIONS.any? { |kind| kind === $! }
        super
      end

      ::Logger::LogDevice.prepend(self)
    end
  end
end
