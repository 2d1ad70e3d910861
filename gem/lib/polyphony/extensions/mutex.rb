# frozen_string_literal: true

module Polyphony
  module Extensions
    # Whether the calling fiber is a main fiber of a thread that runs fibers: Ruby's own scheduler interface
    # serves every other one.
    #
    # @api private
    def self.main?
      Polyphony.scheduler && ::Fiber.current.blocking?
    end

    # The state of a Mutex stays Ruby's; only a main fiber waits differently: a helper waits for the lock in
    # its stead and lets it go, and the main fiber tries again.
    #
    # Where a fiber is cancelled when it was its turn the scheduler lets the next one know, which Ruby 3.1 forgets.
    #
    # @see ::Thread::Mutex
    module Mutex
      # @see ::Thread::Mutex#lock
      # @note Suspends the calling fiber until the lock is free, first come first served.
      # @note A fiber that ends lets go of it.
      def lock
        return super unless Polyphony.scheduler

        unless try_lock
          return super if owned?

          __acquire__
        end
        ::Fiber.current.__holds__(self)
        self
      end

      # @see ::Thread::Mutex#synchronize
      # @note Suspends like {#lock}. Where the fiber has the lock already the block just runs.
      def synchronize
        return super unless Polyphony.scheduler && ::Kernel.block_given?
        unless try_lock
          return yield if owned?

          __acquire__
        end
        begin
          yield
        ensure
          unlock
        end
      end

      # Ends early by `Thread#wakeup` where the fiber is the thread's main one.
      #
      # @return [Integer, nil] the seconds slept; nil where the time was up, as Ruby 3.1 forgets to say
      #   where a fiber scheduler runs
      def sleep(timeout = nil)
        scheduler = Polyphony.scheduler or return super

        unlock
        began = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC)
        begin
          # A main fiber's sleep is its thread's; another's is ended by who unblocks it.
          Extensions.main? ? ::Kernel.sleep(*timeout) : woken = scheduler.block(:sleep, timeout)
          slept = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC) - began
        ensure
          try_lock || Polyphony.shield { lock }
        end
        slept.round if woken || timeout.nil? || slept < timeout
      end

      # @api private
      def __held__? = owned?

      # Lets go of it, where the fiber that ends has it.
      # @api private
      def __abandon__
        unlock if owned?
      end

      private

      STOCK_LOCK = ::Thread::Mutex.instance_method(:lock)
      private_constant :STOCK_LOCK

      def __acquire__
        return if try_lock
        return STOCK_LOCK.bind_call(self) unless ::Fiber.current.blocking?

        Polyphony.aside { __acquire__; unlock } until try_lock
      end
    end

    # A signal for a fiber that is cancelled is the next one's.
    #
    # @see ::Thread::ConditionVariable
    module ConditionVariable
      # What Ruby's own `wait` puts to sleep in the mutex's place. It takes the mutex again when that is over: a
      # fiber that waits for it is in the condition's list no more, where it would take signals that it cannot use.
      #
      # @api private
      class Pause
        def initialize(mutex)
          @mutex = mutex
          @helped = @released = @woken = false
        end

        # @return [Boolean] whether a signal ended the sleep, and nothing else
        def woken? = @woken

        # Runs the wait in the main fiber's stead. It has begun before the mutex is let go: no signal is missed.
        def in_helper(&wait)
          @helped = true
          helper = ::Fiber.current.spin(:wait, &wait)
          snooze until helper.state == :waiting || helper.dead?
          release
          helper.await
        ensure
          helper&.stop
        end

        # What Ruby's `wait` calls.
        #
        # @return [Integer, nil] the seconds slept; nil where the time was up
        def sleep(timeout = nil)
          release unless @helped
          began = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC)
          @woken = Polyphony.scheduler.block(:sleep, timeout)
          (::Process.clock_gettime(::Process::CLOCK_MONOTONIC) - began).round if @woken
        end

        # Takes the mutex again, where it was let go. What is raised in the fiber meanwhile is raised after that.
        def over
          return unless @released

          @released = false
          @mutex.try_lock || Polyphony.shield { @mutex.lock }
        end

        private

        def release
          @mutex.unlock
          @released = true
        end
      end
      private_constant :Pause

      # @see ::Thread::ConditionVariable#wait
      # @note Suspends the calling fiber until it is signalled, or the time is up, and the mutex is its own again.
      def wait(mutex, timeout = nil)
        return super unless Polyphony.scheduler
        # Stock Ruby has Kernel#sleep refuse nil; ours sleeps for ever.
        ::Kernel.raise ::TypeError, "#{mutex.class} is no mutex" unless mutex.respond_to?(:sleep)
        return super unless Extensions.main? || ::Thread::Mutex === mutex

        pause = Pause.new(mutex)
        woken = Extensions.main? ? pause.in_helper { super(pause, timeout) } : super(pause, timeout)
        pause.over
        heard = true
        woken
      ensure
        pause&.over
        signal if pause&.woken? && !heard
      end
    end

    # @see ::Monitor
    module Monitor
      # @see ::Monitor#enter
      # @note Suspends the calling fiber until the monitor is free.
      # @note A fiber that ends lets go of it.
      def enter
        return super unless Polyphony.scheduler

        __acquire__
        ::Fiber.current.__holds__(self)
        nil
      end
      alias mon_enter enter

      # @see ::Monitor#synchronize
      # @note Suspends like {#enter}.
      def synchronize
        return super unless Polyphony.scheduler && ::Kernel.block_given?

        __acquire__
        begin
          yield
        ensure
          self.exit
        end
      end
      alias mon_synchronize synchronize

      # @api private
      def __held__? = mon_owned?

      # Lets go of it, where the fiber that ends has it.
      # @api private
      def __abandon__
        self.exit while mon_owned?
      end

      private

      STOCK_ENTER = ::Monitor.instance_method(:enter)
      private_constant :STOCK_ENTER

      def __acquire__
        return if try_enter
        return STOCK_ENTER.bind_call(self) unless ::Fiber.current.blocking?

        Polyphony.aside { __acquire__; self.exit } until try_enter
      end
    end
  end
end
