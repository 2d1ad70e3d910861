# frozen_string_literal: true

require "io/nonblock"

module Polyphony
  module Extensions
    # What is installed once a library is there that the gem does not load by itself: OpenSSL.
    #
    # There is no hook in `require`. It is looked for when the gem is loaded, when a thread gets its
    # scheduler, when somebody listens, and when OpenSSL wraps a descriptor, which it makes non-blocking
    # first: whatever comes after that waits without holding the thread.
    module Late
      # Loads what has become possible. Cheap where there is nothing to do.
      #
      # @return [void]
      # @api private
      def self.install
        # What is only promised (net/http does) is not there, and to ask for it would load it.
        return if @installed || ::Object.autoload?(:OpenSSL) || !defined?(::OpenSSL::SSL::SSLServer)

        @installed = true
        require_relative "openssl/sockets"
      end

      # OpenSSL says `nonblock=` to what it wraps.
      module Wrapped
        # @see ::IO#nonblock=
        def nonblock=(value)
          Late.install
          super
        end
      end

      # A listener may be about to be wrapped.
      module Listener
        # @see ::TCPServer
        def initialize(...)
          super
          Late.install
        end
      end

      # @see Listener
      module Listening
        # @see ::Socket#listen
        def listen(backlog)
          Late.install
          super
        end
      end

    end

    module IO
      include Late::Wrapped
    end

    module TCPServer
      include Late::Listener
    end

    module Socket
      include Late::Listening
    end
  end
end
