# frozen_string_literal: true

require_relative "handshakes"

module Polyphony
  module Extensions
    # TLS that waits without holding the thread.
    #
    # `require "polyphony"` does not load OpenSSL. Where a program does, before or after, this file is loaded
    # by {Late}.
    module OpenSSL
      # Everything that OpenSSL::Buffering offers stands on `sysread` and `syswrite`; these wait for the
      # descriptor and not in it.
      #
      # @see ::OpenSSL::SSL::SSLSocket
      module SSLSocket
        include Looping

        # @note Suspends the calling fiber until both sides agree.
        # @return [self]
        def accept
          return super unless Polyphony.scheduler

          __when_ready__ { accept_nonblock(exception: false) }
        end

        # @note Suspends the calling fiber until both sides agree.
        # @return [self]
        def connect
          return super unless Polyphony.scheduler

          __when_ready__ { connect_nonblock(exception: false) }
        end

        # @note Suspends the calling fiber until something is there.
        def sysread(length, *buffer)
          return super unless Polyphony.scheduler

          __when_ready__ { __send__(:sysread_nonblock, length, *buffer, exception: false) } or
            ::Kernel.raise ::EOFError, "end of file reached"
        end

        # @note Suspends the calling fiber until everything is out.
        # @return [Integer] bytes written
        def syswrite(string)
          return super unless Polyphony.scheduler

          __when_ready__ { __send__(:syswrite_nonblock, string, exception: false) }
        end

        # @see ::IO#read
        # @param place [Integer, nil] where in the buffer to put it; -1 for its end
        def read(length = nil, buffer = nil, place = nil)
          return super(length, buffer) unless place

          IO::Buffers.check(buffer)
          IO::Buffers.place(buffer, place, super(length))
        end

        # @see ::IO#readpartial
        # @param place [Integer, nil] where in the buffer to put it; -1 for its end
        # @param raise_on_eof [Boolean] whether the end is an error; else it is nil
        def readpartial(length, buffer = nil, place = nil, raise_on_eof = true)
          IO::Buffers.check(buffer)
          return super(length, buffer) if place.nil?

          IO::Buffers.place(buffer, place, super(length))
        rescue ::EOFError
          ::Kernel.raise if raise_on_eof
        end

        # @see Looping#read_loop
        alias recv_loop read_loop

        # @see ::IPSocket#peeraddr
        def peeraddr(*arguments) = to_io.peeraddr(*arguments)

        # @see SocketOptions#dont_linger
        # @return [self]
        def dont_linger
          to_io.dont_linger
          self
        end

        # @see SocketOptions#no_delay
        # @return [self]
        def no_delay
          to_io.no_delay
          self
        end

        # @see SocketOptions#reuse_addr
        # @return [self]
        def reuse_addr
          to_io.reuse_addr
          self
        end

        # @return [Symbol] the method for reading
        # @api private
        def __read_method__ = :readpartial

        # @return [Symbol] the method for writing
        # @api private
        def __write_method__ = :write

        private

        # Asks anew each time the descriptor is ready for what was missing.
        def __when_ready__
          ::Kernel.loop do
            case answer = yield
            when :wait_readable then __await__(::IO::READABLE)
            when :wait_writable then __await__(::IO::WRITABLE)
            else return answer
            end
          end
        end

        # Not `wait_readable`: what Ruby holds of the descriptor is no use to OpenSSL.
        def __await__(events)
          limit = to_io.timeout if to_io.respond_to?(:timeout)
          ready = Polyphony.scheduler.poll(to_io, events, limit)
          ::Kernel.raise ::IO::TimeoutError, "Blocking operation timed out!" if limit && !ready
        end
      end

      # @see ::OpenSSL::SSL::SSLServer
      module SSLServer
        # @return [OpenSSL::SSL::SSLContext] what its connections speak TLS with
        attr_reader :ctx

        # Yields each connection once both sides agree. Each handshake has a fiber of its own: a client that
        # says nothing holds up nobody. It keeps its place only for a limited time, and where there are too
        # many like it only for a second: then the oldest is given up for the next.
        #
        # {#accept} shakes hands in the fiber that calls it, and so waits for a client that says nothing; see
        # `start_immediately`.
        #
        # @note Suspends the calling fiber until there is a connection.
        # @param ignore_errors [Boolean] whether a handshake that fails is passed over; else it is raised, one
        #   that takes too long as Errno::ETIMEDOUT
        # @param handshakes [Integer] the most that are under way at once; also how many connections may wait
        #   for the block before no more are accepted
        # @param handshake_limit [Numeric, nil] seconds for each; nil for as long as it takes
        # @yieldparam socket [OpenSSL::SSL::SSLSocket]
        # @return [Object, nil] what the block breaks with
        def accept_loop(ignore_errors: true, handshakes: 256, handshake_limit: 30)
          under_way = Handshakes.new(handshakes, handshake_limit) { |socket| __shake_hands__(socket) }
          under_way.accept { to_io.accept.then { |socket, *| socket } }
          ::Kernel.loop { yield under_way.take(!ignore_errors) }
        ensure
          under_way&.end
        end

        private

        def __shake_hands__(socket)
          return socket if socket.is_a?(::OpenSSL::SSL::SSLSocket)

          secure = ::OpenSSL::SSL::SSLSocket.new(socket, @ctx)
          secure.sync_close = true
          secure.accept if start_immediately
          secure
        end
      end

      OriginalNames.define_for_tls
      ::OpenSSL::SSL::SSLSocket.prepend(SSLSocket)
      ::OpenSSL::SSL::SSLServer.prepend(SSLServer)
    end
  end
end
