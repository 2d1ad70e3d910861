# frozen_string_literal: true

module Polyphony
  module Extensions
    # Socket options by name; each gives the socket.
    module SocketOptions
      # Closes without waiting for what is still to be sent: SO_LINGER off.
      #
      # @return [self]
      def dont_linger
        setsockopt(::Socket::SOL_SOCKET, ::Socket::SO_LINGER, [0, 0].pack("ii"))
        self
      end

      # Sends small pieces at once: TCP_NODELAY.
      #
      # @return [self]
      def no_delay
        setsockopt(::Socket::IPPROTO_TCP, ::Socket::TCP_NODELAY, 1)
        self
      end

      # Lets the address be used again at once: SO_REUSEADDR. Before `bind`.
      #
      # @return [self]
      def reuse_addr
        setsockopt(::Socket::SOL_SOCKET, ::Socket::SO_REUSEADDR, 1)
        self
      end

      # Lets several sockets listen on one port: SO_REUSEPORT. Before `bind`.
      #
      # @return [self]
      def reuse_port
        setsockopt(::Socket::SOL_SOCKET, ::Socket::SO_REUSEPORT, 1)
        self
      end
    end

    module BasicSocket
      include SocketOptions
    end
  end
end
