# frozen_string_literal: true

module Polyphony
  module Extensions
    module OpenSSL
      # The connections that a listener has accepted and nobody has been given yet, never more than so many.
      #
      # Each shakes hands in a fiber of its own, for a limited time. Where there are as many as there may be,
      # no more are accepted until one is through; but the oldest, once it has had some time, is given up for
      # the next: who says nothing keeps nobody else out. Nor are more accepted where nobody takes those that
      # have agreed.
      #
      # @api private
      class Handshakes
        # A connection, or why there is none; the last where the listener has ended.
        Arrival = ::Struct.new(:connection, :error, :last)
        # A connection, and when it came.
        UnderWay = ::Struct.new(:socket, :since)
        # Seconds that each has, however many there are.
        PATIENCE = 1
        private_constant :Arrival, :UnderWay, :PATIENCE

        # @param most [Integer] how many may be under way
        # @param limit [Numeric, nil] seconds for each
        # @yield [socket] shakes hands; its value is the connection
        def initialize(most, limit, &agree)
          unless most.is_a?(::Integer) && most.positive?
            raise ::ArgumentError, "at least one handshake must be possible, not #{most.inspect}"
          end

          @most = most
          @limit = limit
          @agree = agree
          @under_way = {}
          @arrived = ::Thread::Queue.new
          @room = Event.new
        end

        # Accepts for ever, in a fiber of its own.
        # @yieldreturn [Socket] the next connection
        def accept(&block)
          @acceptor = ::Fiber.current.spin(:accept_loop) { accept_each(&block) }
        end

        # The next connection whose sides have agreed.
        # @param raises [Boolean] whether a handshake that fails is raised, or passed over
        def take(raises)
          loop do
            arrival = @arrived.shift
            @room.signal
            raise arrival.error if arrival.error && (arrival.last || raises)
            return arrival.connection if arrival.connection
          end
        end

        # Ends the handshakes, and the connections that nobody took.
        def end
          @acceptor&.stop
          @acceptor&.await
          @under_way.each_value { |left| left.socket.close unless left.socket.closed? } # they had not begun
          @arrived.shift.connection&.close until @arrived.empty?
        end

        private

        def accept_each
          loop do
            @room.await until @arrived.size < @most
            make_room while @under_way.size >= @most
            socket = yield
            @under_way[::Fiber.current.spin(:handshake) { shake_hands(socket) }] = UnderWay.new(socket, now)
          end
        rescue ::SystemCallError, ::IOError => e
          @arrived << Arrival.new(nil, e, true)
        end

        # Waits for the end of a handshake, or gives the oldest up. That one has begun: time has gone by.
        def make_room
          fiber, oldest = @under_way.first
          left = oldest.since + PATIENCE - now
          return Timeouts.within(left) { @room.await } if left.positive?

          @under_way.delete(fiber)
          fiber.raise(::Errno::ETIMEDOUT, "TLS handshake given up for another")
        end

        def now = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC)

        def shake_hands(socket)
          connection = Timeouts.raise_after(@limit || ::Float::INFINITY, [::Errno::ETIMEDOUT, "TLS handshake"]) { @agree.call(socket) }
          arrived = Arrival.new(connection)
        rescue ::OpenSSL::SSL::SSLError, ::SystemCallError, ::IOError => e
          arrived = Arrival.new(nil, e)
        ensure
          @under_way.delete(::Fiber.current)
          socket.close unless connection || socket.closed?
          @arrived << arrived if arrived
          @room.signal
        end
      end
    end
  end
end
