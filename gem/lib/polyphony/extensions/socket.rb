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
        return super unless Polyphony.scheduler && !frozen? && LENGTHS === maxlen # rubocop:disable Style/CaseEquality

        buffer << "" if buffer # one that cannot be changed is refused before anything is taken
        if !is_a?(::TCPSocket) && Native.datagrams?(self)
          return __message__ { recv_nonblock(maxlen, flags, *buffer, exception: false) }
        end
        return __nothing__(buffer) if maxlen.zero?

        data = __buffered__(maxlen, flags) || Native.recv(self, maxlen, flags)
        return data unless data.is_a?(::String)

        data = nil if data.empty? && Extensions::BasicSocket.nil_at_end?
        buffer && data ? buffer.replace(data.force_encoding(buffer.encoding)) : data
      end

      # What earlier reads left comes first, where stock Ruby refuses.
      # @see ::BasicSocket#recv_nonblock
      def recv_nonblock(maxlen, flags = 0, buffer = nil, exception: true)
        plain = Polyphony.scheduler && ::Integer === flags && LENGTHS === maxlen && !maxlen.zero? # rubocop:disable Style/CaseEquality
        buffer << "" if plain && buffer
        data = __buffered__(maxlen, flags) if plain
        return super unless data

        buffer ? buffer.replace(data.force_encoding(buffer.encoding)) : data
      end

      # @note Suspends the calling fiber until the kernel has taken the message.
      # @return [Integer] bytes sent
      def send(message, flags, address = nil)
        return super unless Polyphony.scheduler && !frozen? && ::String.try_convert(message)

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

      # What earlier reads left, so that `recv` and `gets` see one stream. Who peeks leaves it there; what is
      # urgent is not part of it.
      def __buffered__(maxlen, flags = 0)
        return if flags.anybits?(::Socket::MSG_OOB) || !Polyphony::Native.buffered?(self)

        data = read_nonblock(maxlen, exception: false)
        return unless data.is_a?(::String)

        ungetbyte(data) if flags.anybits?(::Socket::MSG_PEEK)
        data
      end

      def __nothing__(buffer)
        fileno # which a closed socket refuses
        return if Extensions::BasicSocket.nil_at_end?

        buffer ? buffer.clear : "".b
      end

      # Ruby 3.3 changed what `recv` says at the end of a stream, and where it is asked for nothing.
      # @api private
      def self.nil_at_end?
        ::RUBY_VERSION >= "3.3"
      end
    end

    # What every listener does with its connections.
    module Accepting
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
    #
    # @!method accept
    #   @note Suspends the calling fiber until there is a connection.
    #   @return [TCPSocket] where a scheduler runs, which is a Socket and an Addrinfo to who asks for two
    #     (`socket, address = server.accept`); `[Socket, Addrinfo]` where none does
    module Socket
      include Accepting

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
      def recvfrom(maxlen, flags = 0, buffer = nil)
        return super unless Polyphony.scheduler && LENGTHS === maxlen # rubocop:disable Style/CaseEquality

        __message__ { recvfrom_nonblock(maxlen, flags, buffer, exception: false) }
      end
    end

    # @see ::TCPServer
    #
    # @!method accept
    #   @note Suspends the calling fiber until there is a connection.
    #   @return [TCPSocket]
    module TCPServer
      include Accepting
    end

    # @see ::UNIXServer
    #
    # @!method accept
    #   @note Suspends the calling fiber until there is a connection.
    #   @return [UNIXSocket]
    module UNIXServer
      include Accepting
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

    # What `Socket#accept` gives is a TCPSocket, as in Polyphony 1, and a pair, as in stock Ruby, to who takes it
    # apart: code that never heard of Polyphony does.
    #
    # @api private
    module Pair
      private

      # The same descriptor as a Socket, and whose it is; nothing for every other socket.
      def to_ary
        return unless defined?(@__pair__)

        @__pair__ ||= begin
          socket = ::Socket.for_fd(fileno)
          self.autoclose = false # one of the two closes it
          socket.instance_variable_set(:@__accepted__, self)
          [socket, __peer__]
        end
      end

      def __peer__
        remote_address
      rescue ::Errno::ENOTCONN # it has gone already
        ::Addrinfo.tcp(local_address.ipv6? ? "::" : "0.0.0.0", 0)
      end

      # `server.accept[0]`
      def method_missing(name, *arguments)
        name == :[] && (pair = to_ary) ? pair[*arguments] : super
      end
    end

    # @see ::TCPSocket
    module TCPSocket
      include Connecting
      include Pair

      # @return [self] what Polyphony 1 kept behind a TCPSocket, which is a socket itself here
      def io = self

      # @note Suspends the calling fiber until the connection stands. Names are resolved in a thread, and addresses
      #   raced.
      # @param options [Hash]
      # @option options [Numeric, nil] :connect_timeout seconds for each address; then Errno::ETIMEDOUT
      def initialize(*args, **options)
        # A TCPServer is a TCPSocket too, and listens in its own initialize; what stock Ruby refuses is for
        # it to refuse.
        stock = Polyphony.scheduler.nil? || is_a?(::TCPServer) || !args.size.between?(2, 4) || (options.keys - KNOWN).any?
        return super if stock

        __connect__(*args, **options)
      end

      # What this Ruby's TCPSocket takes.
      KNOWN = [
        :connect_timeout, :resolv_timeout,
        *(:fast_fallback if ::RUBY_VERSION >= "3.4"), *(:open_timeout if ::RUBY_VERSION >= "4.0")
      ].freeze

      private

      def __connect__(host, port, local_host = nil, local_port = nil, open_timeout: nil, **options)
        local = [local_host, local_port || 0] if local_host || local_port
        __take_over__(Connecting.within(open_timeout) { Connecting.dial(host, port, local, **options) })
      rescue ::SystemCallError => e
        raise if e.message.end_with?("user specified timeout")

        where = e.message.include?("bind(2)") ? ["bind(2)", local_host, local_port] : ["connect(2)", host, port]
        raise e.class, format("%s for %p port %s", *where)
      end
    end

    # A socket that is connected to one of a host's addresses.
    def Connecting.dial(host, port, local, connect_timeout: nil, resolv_timeout: nil, fast_fallback: Connecting.racing?)
      Dialing.new(host, port, local: local, limit: connect_timeout, resolv_limit: resolv_timeout,
                  racing: fast_fallback).connect
    end

    # Whether addresses are raced where nobody says so: Ruby 3.4 lets a program decide.
    def Connecting.racing?
      !::Socket.respond_to?(:tcp_fast_fallback) || ::Socket.tcp_fast_fallback
    end

    def Connecting.within(limit, &block)
      return yield unless limit

      Timeouts.raise_after(limit, [::IO::TimeoutError, "user specified timeout"], &block)
    end

    # `Socket.tcp`.
    module SocketFunctions
      # @see ::Socket.tcp
      # @note Suspends the calling fiber until the connection stands. Names are resolved in a thread, and addresses
      #   raced.
      def tcp(host, port, local_host = nil, local_port = nil, **options)
        return super if Polyphony.scheduler.nil? || (options.keys - TCPSocket::KNOWN).any?

        open_timeout = options.delete(:open_timeout)
        local = [local_host, local_port || 0] if local_host || local_port
        socket = Connecting.within(open_timeout) { Connecting.dial(host, port, local, **options) }
        return socket unless block_given?

        begin
          yield socket
        ensure
          socket.close
        end
      end
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
      def send(*arguments)
        message, flags, host, port = arguments
        refused = !arguments.size.between?(2, 4) || ::String.try_convert(message).nil?
        return super if Polyphony.scheduler.nil? || refused

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
      def recvfrom(maxlen, flags = 0, buffer = nil)
        return super unless Polyphony.scheduler && LENGTHS === maxlen # rubocop:disable Style/CaseEquality

        __message__ { recvfrom_nonblock(maxlen, flags, buffer, exception: false) }
      end
    end
  end
end
