# frozen_string_literal: true

module Polyphony
  module Extensions
    # What a fiber is where the drop-in is loaded: a child of the fiber that spun it, with a result, a
    # mailbox, and an end that its children do not outlive.
    #
    # A fiber made by `Fiber.new` and never spun keeps its stock meaning.
    #
    # @!method <<(message)
    #   Sends the fiber a message. Where it has ended nobody will receive it, and nobody is told.
    #   @return [Fiber] self
    # @!method receive
    #   Waits for a message. Call it in the fiber itself.
    #   @note Suspends, also where a message is there; a fiber that is cancelled there leaves the message.
    #   @return [Object] the message, also where it is an exception
    # @!method mailbox
    #   @return [Thread::Queue] the messages
    # @!method resume(*values)
    #   @see ::Fiber#resume
    #   @raise [FiberError] for a fiber that was spun: it runs when it is scheduled
    # @!method transfer(*values)
    #   @see ::Fiber#transfer
    #   @raise [FiberError] for a fiber that was spun: it runs when it is scheduled
    module Fiber
      include Supervision
      include LifeCycle

      # @return [Object, nil] a name for people
      attr_accessor :tag
      # @return [Thread, nil] the thread that runs the fiber; nil where nobody spun it
      attr_reader :thread
      # @return [Boolean, nil] whether it runs the handler of a signal
      attr_accessor :oob
      # @return [Object, nil] what the block returned, or the exception that ended it
      attr_reader :result

      # @param thread [Thread]
      # @raise [TypeError] where it is none: nobody could end the fiber
      # @raise [FiberError] where another thread runs the fiber
      def thread=(thread)
        ::Kernel.raise ::TypeError, "only a Thread runs fibers, not #{thread.class}" unless ::Thread === thread
        ::Kernel.raise FiberError, "#{inspect} stays in its thread" unless @thread.nil? || @thread.equal?(thread)

        @thread = thread
      end

      # Starts a child of this fiber. It runs when its turn comes, behind the fibers that are ready.
      #
      # @param tag [Object] a name for people
      # @param storage [Hash, nil, true] fiber storage, as for `Fiber.new` (Ruby 3.2)
      # @return [Fiber]
      # @raise [ArgumentError] without a block
      # @raise [FiberError] where this fiber has ended, or belongs to another thread
      def spin(tag = nil, orig_caller = nil, storage: true, &block)
        ::Kernel.raise ::ArgumentError, "spin needs a block to run" unless block

        scheduler = Polyphony.scheduler || Polyphony.scheduler!
        ::Kernel.raise FiberError, "#{inspect} belongs to another thread" unless __here__?
        ::Kernel.raise FiberError, "#{inspect} has ended: it can have no children" if @ended
        __check_spun__ unless @thread || equal?(::Fiber.current) # or nobody would end the child

        fiber = storage == true ? ::Fiber.new(&LIFE) : ::Fiber.new(storage: storage, &LIFE)
        fiber.__prepare__(self, tag, orig_caller, block)
        fiber.monitor(self) if @supervising
        children = @children ||= {}.compare_by_identity
        # No branch and no Ruby code from here on, where a signal would leave a child that never runs and never ends.
        children[fiber] = true
        scheduler.adopt(fiber)
        Polyphony.schedule(fiber, nil, false)
        fiber
      end

      # Queues the fiber, to be resumed with a value, or with an exception to raise. From any thread.
      #
      # A value never replaces an exception that waits there already. A fiber that waits for something else (in
      # `Queue#pop`, a lock, `await`) goes on waiting, and its next `suspend`, `snooze` or `sleep` returns the
      # value; an exception ends any wait.
      # @return [Fiber] self
      # @raise [FiberError] where nobody spun the fiber
      def schedule(value = nil)
        __schedule__(value, false)
      end

      # {#schedule}, before the fibers that are ready.
      def schedule_with_priority(value = nil)
        __schedule__(value, true)
      end

      # Runs the fiber at once, and the calling one when somebody schedules it.
      #
      # @return [Object, nil] what the calling fiber is scheduled with
      def safe_transfer(value = nil)
        schedule_with_priority(value)
        Polyphony.scheduler!.suspend
      end

      # Waits for the fiber to end.
      #
      # @note Suspends the calling fiber; whatever is raised there ends the wait.
      # @return [Object] its result
      # @raise whatever ended the fiber
      # @raise [FiberError] where it was never spun, or awaits itself
      def await
        __check_spun__
        unless @ended
          ::Kernel.raise FiberError, "a fiber cannot await itself" if equal?(::Fiber.current)

          gathering = Gathering.new([self])
          begin
            gathering.wait_for_each
          ensure
            gathering.end
          end
        end
        @result.is_a?(::Exception) ? ::Kernel.raise(@result) : @result
      end
      alias join await
      alias value await

      # For a spun fiber: sends a message. Else what `send` always is.
      def send(*args, &block)
        return super unless @thread && !@main

        self << args.first
      end

      # Yields every message, until the block breaks.
      def receive_loop
        ::Kernel.loop { yield receive }
      end

      # @return [Array] the messages that wait, without waiting
      def receive_all_pending
        @mailbox ? @mailbox.shift_all : []
      end

      # @return [Symbol] `:running`, `:runnable` (started or not), `:waiting` or `:dead`
      def state
        return :dead if dead?
        return :running if equal?(::Fiber.current)

        Polyphony.runnable?(self) ? :runnable : :waiting
      end

      # @return [Boolean] whether it has ended
      def dead? = @ended || !alive?

      # @return [Boolean, nil] nil before its first turn
      def running? = @running

      # @return [Boolean, nil] whether it is the one that its thread began with
      def main? = @main

      # Where it was spun, and where the fiber that spun it was, and so on to the main one.
      #
      # @return [Array<String>]
      def caller
        return [] if @main

        own = @caller ? @caller.map(&:to_s) : [location]
        @parent ? own + @parent.caller : own
      end

      # Where its block stands. The stack that spun it is not kept: it would weigh more than the fiber.
      #
      # @return [String]
      def location
        return "(root)" if @main

        location = (@caller&.first || @block&.source_location&.join(":")).to_s
        @oob ? "#{location} (oob)" : location
      end

      # Says where the fiber was spun, for {#caller}, {#location} and backtraces.
      #
      # @param lines [Array<String>] as `Kernel#caller` gives them
      # @raise [TypeError] where it is no Array
      def set_caller(lines)
        ::Kernel.raise ::TypeError, "a caller is an Array of lines, not #{lines.class}" unless nil == lines || ::Array === lines

        @caller = lines
      end

      # An event of the fiber's own, to await and to signal.
      #
      # @return [Event]
      def auto_watcher
        @auto_watcher ||= Event.new
      end

      # Holds the fiber up: whatever is scheduled for it, it does not run until {#__unpark__}, or {#terminate}.
      #
      # @return [Fiber] self
      def __park__
        __check_spun__
        Polyphony.detain(self, true)
        self
      end

      # @return [Fiber] self
      def __unpark__
        Polyphony.detain(self, false)
        self
      end

      # @return [true, nil] whether {#__park__} holds it up
      def __parked__? = Polyphony.detained?(self) || nil

      # Makes a fiber of `Fiber.new` that has not begun one that can be scheduled. It has no parent, and
      # nobody hears of its end. One that was spun can be scheduled already.
      #
      # @return [Fiber] self
      # @raise [FiberError] where it has ended
      def setup_raw
        return self if @thread

        ::Kernel.raise FiberError, "#{inspect} has ended" unless alive?
        @thread = ::Thread.current
        Polyphony.scheduler!.adopt_raw(self)
        self
      end

      # @return [String] for a spun fiber: its tag, where it was spun, and its state
      def inspect
        return super unless @thread

        "#<Fiber #{"#{@tag}:" if @tag}#{object_id} #{location} (#{state})>"
      end
      alias to_s inspect

      # Whether its turns are its scheduler's to give.
      # @api private
      def __scheduled__? = @thread && !@main && !@ended ? true : false

      private

      def __here__?
        @thread.nil? || @thread.equal?(::Thread.current)
      end

      def __check_spun__
        return if @thread

        # The first word about Polyphony in a thread may be about its own main fiber.
        Polyphony.scheduler! if equal?(::Fiber.current)
        return if @thread

        ::Kernel.raise FiberError, "#{inspect} was made by Fiber.new and never spun: make it with spin"
      end

      def __schedule__(value, first)
        __check_spun__
        Polyphony.schedule(self, value, first)
        self
      end

      # `Fiber.await`, `Fiber.select` and `Fiber.set_scheduler`.
      module Singleton
        # Runs the block in a fiber that belongs to the thread's main one, before all others, as the handler
        # of a signal is run: what it raises is raised in the main fiber.
        #
        # @return [Fiber]
        def schedule_priority_oob_fiber(&block)
          ::Kernel.raise ::ArgumentError, "the fiber needs a block to run" unless block

          # In a handler of Ruby's own there is none that may be used, but there is one.
          Signals.spin(Polyphony.scheduler_of(::Thread.current) || Polyphony.scheduler!, block, &block)
        end

        # @see ::Fiber.set_scheduler
        # @note Polyphony's scheduler steps aside for another one where no spun fiber is alive.
        # @raise [FiberError] where one is: it would never run again
        def set_scheduler(scheduler)
          return super if scheduler.is_a?(FiberScheduler) || !::Fiber.scheduler.is_a?(FiberScheduler) || Polyphony.scheduler.nil?

          alive = ::Thread.current.main_fiber&.children || []
          unless alive.empty?
            ::Kernel.raise FiberError, "#{alive.size} fibers of this thread are alive (#{alive.first.inspect}), and only " \
                                       "Polyphony's scheduler can run them: await or stop them first, or use another thread"
          end
          super.tap { Polyphony.scheduler&.close }
        end

        # Waits for all.
        #
        # @return [Array] their results, in the order given
        # @raise the exception of the first that fails, when the others have been ended
        def await(*fibers)
          fibers = fibers.first if fibers.size == 1 && fibers.first.is_a?(::Array)
          return [] if fibers.empty?

          gathering = Gathering.new(fibers)
          begin
            gathering.wait_for_all
          ensure
            gathering.end
          end
          return fibers.map(&:result) unless (failed = gathering.failed)

          others = fibers.reject(&:dead?)
          others.each(&:terminate)
          ::Fiber.current.__await_ends__(others) unless others.empty?
          ::Kernel.raise(failed.result)
        end
        alias join await

        # Waits for the first that ends.
        #
        # @return [Array(Fiber, Object), nil] it and its result; nil for none
        def select(*fibers)
          return if fibers.empty?

          gathering = Gathering.new(fibers)
          begin
            gathering.wait_for_one
          ensure
            gathering.end
          end
          [gathering.first, gathering.first.await]
        end
      end
    end
  end
end
