# frozen_string_literal: true

module Polyphony
  # Connections and listeners, plain or TLS, in one call.
  module Net
    class << self
      # Connects, to IPv4 or IPv6.
      #
      # @note Suspends the calling fiber until the connection stands; with TLS, until both sides agree.
      # @param host [String]
      # @param port [Integer, String]
      # @param options [Hash]
      # @option options [Boolean] :secure whether to speak TLS
      # @option options [OpenSSL::SSL::SSLContext] :secure_context what to speak TLS with; by default one
      #   that verifies the peer
      # @option options [Array<String>, String] :alpn_protocols
      # @return [TCPSocket, OpenSSL::SSL::SSLSocket]
      # @example
      #   socket = Polyphony::Net.tcp_connect("example.com", 443, secure: true, alpn_protocols: %w[h2])
      def tcp_connect(host, port, options = {})
        socket = ::TCPSocket.new(host, port)
        secure?(options) ? secure_socket(socket, host, options) : socket
      end

      # Listens, on IPv4 or IPv6 as the host says.
      #
      # @param host [String, nil] by default every IPv4 address
      # @param port [Integer, String]
      # @param options [Hash]
      # @option options [Boolean] :reuse_addr
      # @option options [Boolean] :reuse_port
      # @option options [Boolean] :dont_linger
      # @option options [Integer] :backlog
      # @option options [Boolean] :secure whether to speak TLS
      # @option options [OpenSSL::SSL::SSLContext] :secure_context
      # @option options [Array<String>, String] :alpn_protocols
      # @return [Socket, OpenSSL::SSL::SSLServer]
      # @raise [ArgumentError] without a port
      def tcp_listen(host = nil, port = nil, options = {})
        raise ::ArgumentError, "Port number not specified" unless port

        Polyphony.scheduler!
        socket = listening(::Addrinfo.tcp(host || "0.0.0.0", port), options)
        secure?(options) ? secure_server(socket, options) : socket
      end

      # Tells a context which protocols to speak over TLS; of what a client offers, the first that is ours
      # is chosen.
      #
      # @param context [OpenSSL::SSL::SSLContext]
      # @param protocols [Array<String>, String]
      # @return [void]
      def setup_alpn(context, protocols)
        protocols = Array(protocols)
        context.alpn_protocols = protocols
        context.alpn_select_cb = ->(offered) { protocols.find { |protocol| offered.include?(protocol) } || offered.first }
      end

      private

      def secure?(options) = options[:secure] || options[:secure_context]

      def listening(address, options)
        socket = ::Socket.new(address.afamily, ::Socket::SOCK_STREAM, 0)
        %i[reuse_addr reuse_port dont_linger].each { |option| socket.public_send(option) if options[option] }
        socket.bind(address)
        socket.listen(options[:backlog] || ::Socket::SOMAXCONN)
        socket
      rescue ::Exception # rubocop:disable Lint/RescueException
        socket&.close
        raise
      end

      def secure_socket(socket, host, options)
        socket = ::OpenSSL::SSL::SSLSocket.new(socket, context(options) { |fresh| fresh.set_params })
        socket.sync_close = true
        socket.hostname = host unless Extensions::Resolving.numeric?(host)
        socket.connect
        socket.post_connection_check(host) unless socket.context.verify_mode == ::OpenSSL::SSL::VERIFY_NONE
        socket
      rescue ::Exception # rubocop:disable Lint/RescueException
        socket.close
        raise
      end

      def secure_server(socket, options)
        ::OpenSSL::SSL::SSLServer.new(socket, context(options))
      end

      def context(options)
        require_relative "extensions/openssl"
        context = options[:secure_context]
        unless context
          context = ::OpenSSL::SSL::SSLContext.new
          yield context if block_given?
        end
        protocols = options[:alpn_protocols]
        # A context that was used once is frozen; the same protocols need not be set again.
        setup_alpn(context, protocols) if protocols && context.alpn_protocols != Array(protocols)
        context
      end
    end
  end
end
