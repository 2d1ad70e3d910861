# frozen_string_literal: true

module Polyphony
  module Extensions
    # Connects to a host by whichever of its addresses answers first (RFC 8305, "happy eyeballs").
    #
    # Each family's addresses are looked up off the loop, side by side. Attempts take turns between the families,
    # begin a quarter of a second apart or as soon as one has failed, and go on beside each other. The first that
    # stands wins; when `connect` returns or raises, also because its fiber was cancelled, the other attempts and
    # look-ups have ended and their sockets are closed.
    #
    # @api private
    class Dialing
      # Seconds between two attempts.
      ATTEMPT_DELAY = 0.25
      # Seconds that IPv4 waits for an answer about IPv6.
      RESOLUTION_DELAY = 0.05
      FAMILIES = [::Socket::AF_INET6, ::Socket::AF_INET].freeze

      # @param local [Array(String, Integer), nil] host and port to connect from
      # @param limit [Numeric, nil] seconds for each attempt
      # @param resolv_limit [Numeric, nil] seconds for each look-up
      # @param racing [Boolean] whether an attempt begins before the one before it has ended
      def initialize(host, port, local: nil, limit: nil, resolv_limit: nil, racing: true)
        @host = host
        @port = port
        @local = local
        @limit = limit
        @resolv_limit = resolv_limit
        @racing = racing
        @waiting = []
        @events = ::Thread::Queue.new
        @helpers = []
        @lookups = @attempts = 0
        @due = 0.0
      end

      # @note Suspends the calling fiber until a connection stands.
      # @return [Socket]
      # @raise what the last attempt raised, or the look-up where there was none
      def connect
        @locals = @local && Resolving.addresses(*@local)
        return race { look_up_families } if @racing && !Resolving.numeric?(@host)

        addresses = look_up(nil)
        return attempt(addresses.first) if addresses.size == 1

        race { @waiting.concat(addresses) }
      end

      private

      # Begins, and goes on until somebody has won or nobody can.
      def race
        yield
        until @winner || over?
          begin_attempt while @waiting.any? && due?
          take_in(next_event)
        end
        @winner || raise(@error)
      ensure
        finish
      end

      def over? = @waiting.empty? && @attempts.zero? && @lookups.zero?

      def due? = @racing ? now >= @due : @attempts.zero?

      def now = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC)

      # What happens next; nil where it is time for another attempt.
      def next_event
        return @events.shift unless @waiting.any? && @racing

        Timeouts.move_on_after([@due - now, 0].max, nil) { @events.shift }
      end

      def take_in(event)
        kind, subject = event
        case kind
        when :found then found(subject)
        when :not_found then lookup_failed(subject)
        when :connected then @winner = subject
        when :failed then failed(subject)
        end
      end

      def look_up_families
        @lookups = FAMILIES.size
        FAMILIES.each { |family| helper(:found, :not_found) { look_up(family) } }
      end

      def found(addresses)
        @lookups -= 1
        @waiting.concat(addresses)
        return unless @attempts.zero?

        early = @lookups.positive? && addresses.first&.ipv4?
        @due = early ? now + RESOLUTION_DELAY : 0.0
      end

      def lookup_failed(error)
        @lookups -= 1
        @error ||= error
        @due = 0.0 if @attempts.zero?
      end

      def failed(error)
        @attempts -= 1
        @error = error
        @due = 0.0
      end

      def begin_attempt
        address = @waiting.delete_at(@waiting.index { |waiting| waiting.afamily != @family } || 0)
        @family = address.afamily
        @attempts += 1
        @due = now + ATTEMPT_DELAY
        helper(:connected, :failed) { attempt(address) }
      end

      # Runs the block in a fiber of its own, and tells how it ended.
      def helper(done, failed)
        @helpers << ::Fiber.current.spin(:dialing) do
          @events << [done, yield]
        rescue ::SystemCallError, ::SocketError => e
          @events << [failed, e]
        end
      end

      # Ends whoever has not ended, and closes what came too late. Who is cancelled meanwhile gets no socket.
      def finish
        alive = @helpers.reject(&:dead?)
        ::Fiber.current.__await_ends__(alive.each(&:stop)) if alive.any?
      rescue ::Exception # rubocop:disable Lint/RescueException
        @winner&.close
        raise
      ensure
        @events.shift.last.then { |late| late.close if late.is_a?(::Socket) } until @events.empty?
      end

      def look_up(family)
        return Resolving.addresses(@host, @port, family) unless @resolv_limit

        within(@resolv_limit) { Resolving.addresses(@host, @port, family) }
      end

      def attempt(address)
        socket = ::Socket.new(address.afamily, ::Socket::SOCK_STREAM, 0)
        bind(socket, address) if @locals
        @limit ? within(@limit) { socket.connect(address) } : socket.connect(address)
        socket
      rescue ::Exception # rubocop:disable Lint/RescueException
        socket&.close
        raise
      end

      # One of another family is refused by the kernel, as stock Ruby has it.
      def bind(socket, address)
        socket.setsockopt(:SOCKET, :REUSEADDR, true)
        socket.bind(@locals.find { |local| local.afamily == address.afamily } || @locals.first)
      end

      def within(limit, &block)
        Timeouts.raise_after(limit, [::Errno::ETIMEDOUT, "user specified timeout"], &block)
      end
    end
  end
end
