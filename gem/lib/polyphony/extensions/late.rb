# frozen_string_literal: true

require "io/nonblock"

module Polyphony
  module Extensions
    # What is installed once a library is there that the gem does not load by itself: OpenSSL, io/console,
    # Readline where it is written in C, Logger, DRb, IRB and Pry.
    #
    # There is no hook in `require`. It is looked for when the gem is loaded, when a thread gets its
    # scheduler, when somebody listens, when io/console defines its methods, when an object gets a monitor, as
    # Logger's and DRb's do, and when OpenSSL wraps a descriptor, which it makes non-blocking first: whatever comes
    # after that waits without holding the thread.
    module Late
      # Loads what has become possible. Cheap where there is nothing to do.
      #
      # @return [void]
      # @api private
      def self.install
        require_relative "openssl/sockets" if new?(:OpenSSL) && defined?(::OpenSSL::SSL::SSLServer)
        require_relative "readline" if new?(:Readline)
        require_relative "console" if !ours?(:Console) && ::IO.method_defined?(:getpass)
        require_relative "logger" if !ours?(:LogDevice) && there?(:Logger) && defined?(::Logger::LogDevice)
        require_relative "drb" if !ours?(:ThreadObject) && there?(:DRb) && defined?(::DRb::ThreadObject)
        return unless there?(:IRB) || there?(:Pry)

        require_relative "prompts" unless ours?(:Prompts)
        Prompts.install
      end

      # Whether a library is there and what we make of it is not.
      def self.new?(name) = !ours?(name) && there?(name)

      def self.ours?(name) = Extensions.const_defined?(name, false)

      # What is only promised (net/http does) is not there, and to ask for it would load it.
      def self.there?(name) = ::Object.const_defined?(name) && !::Object.autoload?(name)
      private_class_method :new?, :ours?, :there?

      # OpenSSL says `nonblock=` to what it wraps.
      module Wrapped
        # @see ::IO#nonblock=
        def nonblock=(value)
          Late.install
          super
        end
      end

      # io/console defines methods of IO, when it is loaded.
      module Defined
        private

        def method_added(name)
          super
          Late.install if name == :getpass && equal?(::IO)
        end
      end

      # What Logger and DRb make has a monitor from the beginning.
      module Monitored
        private

        def mon_initialize
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

    # @see ::MonitorMixin
    module MonitorMixin
      include Late::Monitored
    end

    module IO
      include Late::Wrapped

      module Singleton
        include Late::Defined
      end
    end

    module TCPServer
      include Late::Listener
    end

    module Socket
      include Late::Listening
    end
  end
end
