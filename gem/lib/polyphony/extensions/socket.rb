# frozen_string_literal: true

module Polyphony
  module Extensions
    # What stock Ruby takes for a length; the rest is for it to refuse.
    #
    # @api private
    LENGTHS = (0..0x7fff_ffff)

    # Receiving and sending, for every socket.
    #
    # @see ::BasicSocket
    module BasicSocket
      # @note Suspends the calling fiber until something is there.
      # @return [String, nil] nil at the end of a stream, where stock Ruby says nil or ""
      def recv(maxlen, flags = 0, buffer = nil)
        return super unless Polyphony.scheduler && LENGTHS === maxlen # rubocop:disable Style/CaseEquality
        return __stock_empty__(buffer) if maxlen.zero?

        buffer << "" if buffer # one that cannot be changed is refused before anything is taken
        if !is_a?(::TCPSocket) && Native.datagrams?(self)
          return __message__ { recv_nonblock(maxlen, flags, *buffer, exception: false) }
        end

        data = __buffered__(maxlen) || Native.recv(self, maxlen, flags)
        return data unless data.is_a?(::String)

        data = nil if data.empty? && Extensions::BasicSocket.nil_at_end?
        buffer && data ? buffer.replace(data) : data
      end

      # @note Suspends the calling fiber until the kernel has taken the message.
      # @return [Integer] bytes sent
      def send(message, flags, address = nil)
        return super unless Polyphony.scheduler

        address = address.to_sockaddr if address.is_a?(::Addrinfo)
        Native.send(self, message, flags, address)
      end

      private

      # Takes a message once one is there: a wait that is cancelled has taken none.
      def __message__
        until (message = yield) != :wait_readable
          woken = wait_readable
          return woken unless woken.equal?(self)
        end
        message
      end

      # What earlier reads left, so that `recv` and `gets` see one stream.
      def __buffered__(maxlen)
        data = read_nonblock(maxlen, exception: false) if Polyphony::Native.buffered?(self)
        data if data.is_a?(::String)
      end

      def __stock_empty__(buffer)
        buffer ? buffer.replace("") : +""
      end

      # Ruby 3.3 changed what `recv` says at the end of a stream.
      # @api private
      def self.nil_at_end?
        ::RUBY_VERSION >= "3.3"
      end
    end

    # What every listener does with its connections.
    module Accepting
      # @api private
      def self.wrap(accepted, klass)
        accepted.is_a?(::Integer) ? klass.for_fd(accepted) : accepted
      end

      # Yields each connection, until the block breaks.
      def accept_loop
        loop { yield accept }
      end

      # @note Suspends the calling fiber until there is a connection.
      # @return [Integer] its descriptor; of a Socket with the address, as stock Ruby gives it
      def sysaccept
        return super unless Polyphony.scheduler

        __await_message__ { super }
      end
    end

    # @see ::Socket
    module Socket
      include Accepting

      # @note Suspends the calling fiber until there is a connection.
      # @return [TCPSocket] where a scheduler runs; `[Socket, Addrinfo]` where none does
      def accept
        return super unless Polyphony.scheduler

        Accepting.wrap(Native.accept(self), ::TCPSocket)
      end

      # @note Suspends the calling fiber until the connection stands.
      # @return [0]
      def connect(address)
        return super unless Polyphony.scheduler

        Native.connect(self, address.respond_to?(:to_sockaddr) ? address.to_sockaddr : address)
      rescue ::SystemCallError => e
        raise unless e.message.end_with?("connect(2)")

        raise e.class, "connect(2) for #{Extensions::Socket.inspect_address(address)}"
      end

      # The address as stock Ruby's messages have it.
      # @api private
      def self.inspect_address(address)
        (address.is_a?(::Addrinfo) ? address : ::Addrinfo.new(address)).inspect_sockaddr
      end

      # @note Suspends the calling fiber until there is a message.
      # @return [Array(String, Addrinfo)]
      def recvfrom(maxlen, flags = 0)
        return super unless Polyphony.scheduler && LENGTHS === maxlen # rubocop:disable Style/CaseEquality

        __message__ { recvfrom_nonblock(maxlen, flags, exception: false) }
      end
    end

    # @see ::TCPServer
    module TCPServer
      include Accepting

      # @note Suspends the calling fiber until there is a connection.
      # @return [TCPSocket]
      def accept
        return super unless Polyphony.scheduler

        Accepting.wrap(Native.accept(self), ::TCPSocket)
      end
    end

    # @see ::UNIXServer
    module UNIXServer
      include Accepting

      # @note Suspends the calling fiber until there is a connection.
      # @return [UNIXSocket]
      def accept
        return super unless Polyphony.scheduler

        Accepting.wrap(Native.accept(self), ::UNIXSocket)
      end
    end

    # Sockets that connect as they are made.
    #
    # @api private
    module Connecting
      # Makes a connected descriptor the receiver's own.
      def __take_over__(socket)
        fd = socket.fileno
        socket.autoclose = false
        ::IO.instance_method(:initialize).bind_call(self, fd, "r+b")
        Native.become_socket(self, ::BasicSocket.do_not_reverse_lookup)
      end
      private :__take_over__
    end

    # @see ::TCPSocket
    module TCPSocket
      include Connecting

      # @return [self] what Polyphony 1 kept behind a TCPSocket, which is a socket itself here
      def io = self

      # @note Suspends the calling fiber until the connection stands. Names are resolved in a thread.
      # @param options [Hash]
      # @option options [Numeric, nil] :connect_timeout seconds for each address; then Errno::ETIMEDOUT
      def initialize(*args, **options)
        # A TCPServer is a TCPSocket too, and listens in its own initialize; what stock Ruby refuses is for
        # it to refuse.
        stock = Polyphony.scheduler.nil? || is_a?(::TCPServer) || !args.size.between?(2, 4) || (options.keys - OPTIONS).any?
        return super if stock

        __connect__(*args, options[:connect_timeout])
      end

      OPTIONS = %i[connect_timeout resolv_timeout open_timeout fast_fallback].freeze
      private_constant :OPTIONS

      private

      def __connect__(host, port, local_host = nil, local_port = nil, limit)
        last = nil
        Resolving.addresses(host, port).each do |address|
          return __take_over__(Connecting.socket(address, local_host, local_port, limit))
        rescue ::SystemCallError => e
          last = e
        end
        raise ::SocketError, "getaddrinfo: no address for #{host.inspect}" unless last

        tried = "connect(2) for #{host.inspect} port #{port}"
        raise last.class, last.message.end_with?("user specified timeout") ? "user specified timeout" : tried
      end
    end

    # A socket that is connected to an address, or the error why not.
    def Connecting.socket(address, local_host, local_port, limit)
      socket = ::Socket.new(address.afamily, ::Socket::SOCK_STREAM, 0)
      socket.bind(::Addrinfo.tcp(local_host, local_port || 0)) if local_host || local_port
      limit ? Connecting.within(limit) { socket.connect(address) } : socket.connect(address)
      socket
    rescue ::Exception
      socket&.close
      raise
    end

    def Connecting.within(limit, &block)
      Timeouts.raise_after(limit, [::Errno::ETIMEDOUT, "user specified timeout"], &block)
    end

    # @see ::UNIXSocket
    module UNIXSocket
      include Connecting

      # @note Suspends the calling fiber until the connection stands.
      def initialize(path)
        return super if Polyphony.scheduler.nil? || is_a?(::UNIXServer)

        # What is no path is for stock Ruby to refuse.
        return super unless path.respond_to?(:to_str) && path.to_str.bytesize <= PATH && !path.to_str.include?("\0")

        __connect__(path.to_str)
      end

      # Room for a path in a `sockaddr_un`.
      PATH = 108
      private_constant :PATH

      private

      def __connect__(path)
        socket = ::Socket.new(:UNIX, :STREAM, 0)
        socket.connect(::Addrinfo.unix(path))
        __take_over__(socket)
      rescue ::SystemCallError => e
        socket&.close
        raise e.class, "connect(2) for #{path}"
      rescue ::Exception
        socket&.close
        raise
      end
    end

    # @see ::UDPSocket
    module UDPSocket
      # @note Suspends the calling fiber until the kernel has taken the message.
      # @return [Integer] bytes sent
      def send(message, flags, *destination)
        return super if Polyphony.scheduler.nil? || destination.size > 2

        host, port = destination
        address = host
        if port
          family = local_address.ipv6? ? :INET6 : :INET
          address = ::Addrinfo.getaddrinfo(host, port, family, :DGRAM).first.to_sockaddr
        elsif address.is_a?(::Addrinfo)
          address = address.to_sockaddr
        end
        Native.send(self, message, flags, address)
      rescue ::SystemCallError => e
        raise e unless port && e.message.end_with?("sendto(2)")

        raise e.class, "sendto(2) for #{host.inspect} port #{port}"
      end

      # @note Suspends the calling fiber until there is a message.
      # @return [Array(String, Array)] the message, and the sender as `addr` tells it
      def recvfrom(maxlen, flags = 0)
        return super unless Polyphony.scheduler && LENGTHS === maxlen # rubocop:disable Style/CaseEquality

        __message__ { recvfrom_nonblock(maxlen, flags, exception: false) }
      end
    end
  end
end
