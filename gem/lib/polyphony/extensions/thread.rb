# frozen_string_literal: true

module Polyphony
  module Extensions
    # @see ::Thread
    module Thread
      # @return [Fiber, nil] the fiber that the thread began with; nil where it runs no fibers
      attr_reader :main_fiber

      # Waits for the thread to end.
      #
      # @note Suspends the calling fiber.
      # @param limit [Numeric, nil] seconds
      # @return [Object] the block's value; with a limit the thread, or nil when the time is up. Where no
      #   fibers run it is the thread, as ever.
      # @raise what ended the thread
      def join(limit = nil)
        return super unless Polyphony.scheduler
        return value if limit.nil?

        ::Kernel.raise ::TypeError, "no implicit conversion to float from string" if limit.is_a?(::String) # Float takes it

        # Ruby 3.1 forgets the limit where a fiber scheduler waits.
        Timeouts.move_on_after([Float(limit), 0].max, nil) do
          Polyphony.aside { super(nil) }
          self
        end
      end

      # @see #join
      # @return [Object, nil] the block's value, also with a limit
      def await(limit = nil)
        limit ? join(limit)&.value : value
      end
      alias await_done await

      # @see ::Thread#value
      # @note Suspends the calling fiber.
      def value
        return super unless Polyphony.scheduler

        Polyphony.aside { super }
      end

      # @return [Object, nil] the block's value, or the exception that ended it, or what {#mark_as_done} said;
      #   nil where it runs
      def result
        return @done.first if @done

        alive? ? nil : value
      rescue ::Exception => e
        e
      end

      # @return [Boolean] whether it has ended, or {#mark_as_done} said so
      def done? = @done ? true : !alive?

      # Says that what the thread is for is done, and what came of it, before its block returns. Who joins the
      # thread waits for its end, and gets the block's value.
      #
      # @return [Thread] self
      def mark_as_done(result)
        @done = [result]
        self
      end

      # Marks the thread as one that is being looked into, and changes nothing else, as ever. What it does is
      # heard by {BackendTiming#trace_proc=}.
      #
      # @return [Thread] self
      def debug!
        @debug = true
        self
      end

      # @return [Boolean] whether {#debug!} has marked it
      def debug? = @debug ? true : false

      # @see ::Thread#kill
      def kill_safe = kill

      # @note Where a main fiber ends its own thread, its children end first.
      # @see ::Thread#kill
      def kill
        fiber = ::Fiber.current
        fiber.shutdown_all_children if equal?(::Thread.current) && Polyphony.scheduler && fiber.main?
        super
      end
      alias exit kill
      alias terminate kill

      # Ends also a `sleep` of the thread's main fiber.
      #
      # @see ::Thread#wakeup
      def wakeup
        Polyphony.wake_sleeper(self)
        super
      end

      # @see #wakeup
      # @see ::Thread#run
      def run
        Polyphony.wake_sleeper(self)
        super
      end

      # The thread's scheduler, which also answers `kind` and `stats`.
      #
      # @return [Scheduler, nil] nil for another thread that runs no fibers
      def backend
        equal?(::Thread.current) ? Polyphony.scheduler! : Polyphony.scheduler_of(self)
      end

      # A thread keeps the scheduler that it has.
      # @raise [ArgumentError] for any other
      def backend=(backend)
        ::Kernel.raise ::ArgumentError, "a thread keeps its scheduler" unless backend.equal?(self.backend)
      end

      # Lets the calling thread run fibers.
      #
      # @return [Thread] self
      def setup
        Polyphony.scheduler!
        self
      end
      alias setup_fiber_scheduling setup

      # Schedules a fiber, before those that are ready, and ends the thread's wait.
      #
      # @return [Fiber]
      def schedule_and_wakeup(fiber, value = nil) = fiber.schedule_with_priority(value)

      # Takes a fiber out of the run queue, with what was scheduled for it.
      #
      # @return [Thread] self
      def fiber_unschedule(fiber)
        Polyphony.unschedule(fiber)
        self
      end

      # Waits until somebody schedules the calling fiber.
      #
      # @return [Object, nil] what it was scheduled with
      def switch_fiber = Polyphony.suspend

      # Sends a message to the thread's main fiber, which finds it also if it has no scheduler yet.
      #
      # Where the thread has ended nobody will receive it, and nobody is told.
      #
      # @return [Thread] self
      def <<(message)
        return self if !alive? || (main_fiber && main_fiber << message)

        (@early_messages ||= []) << message
        __pass_early_messages__
        self
      end

      # For a thread that runs fibers: sends a message. Else what `send` always is.
      def send(*args, &block)
        return super if main_fiber.nil? || block || args.size != 1

        self << args.first
      end

      # @see BackendTiming#idle_gc_period=
      def idle_gc_period=(seconds)
        backend.idle_gc_period = seconds
      end

      # Calls the block by each switch that finds no fiber ready. It must not wait.
      #
      # @return [Thread] self
      def on_idle(&block)
        backend.idle_proc = block
        self
      end

      # @api private
      def __take_main_fiber__(fiber)
        @main_fiber = fiber
        __pass_early_messages__
      end

      private

      # Messages that came before the thread ran fibers. Whoever comes last, sender or thread, finds them.
      def __pass_early_messages__
        main_fiber << @early_messages.shift until main_fiber.nil? || @early_messages.nil? || @early_messages.empty?
      end

      # What Thread itself learns.
      module Singleton
        # @return [Scheduler] the calling thread's
        def backend = ::Thread.current.backend

        # @see Thread#kill
        def exit = ::Thread.current.kill
      end
    end
  end
end
