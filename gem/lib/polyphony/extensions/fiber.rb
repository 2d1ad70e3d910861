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
      # @return [Fiber, nil] the fiber that spun it
      attr_reader :parent
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

      # Moves no child: {#attach_to} does.
      #
      # @param parent [Fiber, nil]
      # @raise [TypeError, FiberError] as {#attach_to}
      def parent=(parent)
        __check_parent__(parent) unless nil == parent
        @parent = parent
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

      # Raises in the fiber, when its turn comes.
      #
      # @return [Fiber] self
      def raise(*args, **options)
        return super unless @thread

        __schedule__(Extensions::Fiber.exception(*args, **options), false)
      end

      # Ends the fiber; its result is `value`.
      #
      # @return [Fiber, nil] self; nil where it has ended already
      def interrupt(value = nil)
        return super if !@thread && defined?(super)

        __check_spun__
        @ended ? nil : __schedule__(MoveOn.new(value), false)
      end
      alias stop interrupt
      alias move_on interrupt

      # @see #interrupt
      def kill(*value)
        return super unless @thread

        interrupt(*value)
      end

      # Ends the fiber with an error that its parent hears of.
      #
      # @param exception [Class, Exception]
      # @return [Fiber, nil] self; nil where it has ended already
      def cancel(exception = Polyphony::Cancel)
        __check_spun__
        @ended ? nil : __schedule__(Extensions::Fiber.exception(exception), false)
      end

      # Ends the fiber and its children, also where {#__park__} holds it up.
      #
      # @param graceful [Boolean] says to clean-up code that there is time
      # @param grace [Numeric, nil] how many seconds: what goes on then, here or in a child, is ended in its
      #   clean-up, shielded or not
      # @return [Fiber, nil] self; nil where it has ended already
      # @raise [ArgumentError] where the grace is no time
      def terminate(graceful: false, grace: nil)
        __check_spun__
        if grace && !(grace.is_a?(::Numeric) && grace.real? && grace >= 0)
          ::Kernel.raise ::ArgumentError, "a grace is a time of zero or more, not #{grace.inspect}"
        end

        @graceful_shutdown = graceful
        return if @ended

        Polyphony.detain(self, false)
        __schedule__(Terminate.new, false)
        __end_within__(grace) if grace
        self
      end

      # Whether {#terminate} was asked to be graceful.
      attr_writer :graceful_shutdown

      # @return [Boolean] whether clean-up code has time
      def graceful_shutdown? = @graceful_shutdown ? true : false

      # Runs the fiber's block again from the top: at its next turn, or, where it has ended, in a new fiber
      # of the same parent.
      #
      # @param value [Object] what the block is given
      # @return [Fiber] self, or the new fiber, which has the same tag and monitors
      # @raise [FiberError] for a main fiber
      def restart(value = nil)
        __check_spun__
        ::Kernel.raise FiberError, "a main fiber cannot be restarted" if @main
        return __schedule__(Restart.new(value), false) unless @ended

        parent = @parent.dead? ? @thread.main_fiber : @parent
        fiber = parent.spin(@tag, @caller, &@block)
        monitors.each { |monitor| fiber.monitor(monitor) }
        fiber.schedule(value) unless value.nil?
        fiber
      end
      alias reset restart

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

      # @return [Array<Fiber>] those that it spun and that have not ended, in that order
      def children
        @children ? @children.keys : []
      end

      # Asks every child to end, and does not wait.
      #
      # @return [Fiber] self
      def terminate_all_children(graceful: false)
        @children&.each_key do |child|
          child.graceful_shutdown = true if graceful
          child.terminate(graceful: child.graceful_shutdown?)
        end
        self
      end

      # Waits for every child.
      #
      # @return [Array, nil] their results; nil where there are none
      # @raise the exception of the first that fails
      def await_all_children
        return if @children.nil? || @children.empty?

        ::Fiber.await(*@children.keys)
      end

      # Ends every child and waits for their ends.
      #
      # @return [Fiber] self
      def shutdown_all_children(graceful: false)
        return self if @children.nil? || @children.empty?

        terminate_all_children(graceful: graceful)
        __await_ends__(@children.keys)
        self
      end

      # Makes the fiber a child of its thread's main fiber.
      #
      # @return [Fiber] self
      def detach = attach_to(@thread.main_fiber)

      # Makes the fiber a child of another.
      #
      # @return [Fiber] self
      # @raise [TypeError] where it is no Fiber
      # @raise [FiberError] where that has ended, was never spun, belongs to another thread, or is this one or
      #   below it
      def attach_to(parent)
        __check_parent__(parent)
        @parent&.__forget_child__(self)
        @parent = parent
        parent.__adopt_child__(self)
        self
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

      # What a fiber waits for, and who waits for it, stands in its own variables: one that is frozen says so, and waits
      # and ends as any other.
      #
      # @return [Fiber] self
      def freeze
        @__frozen__ = true
        self
      end

      # @return [Boolean]
      def frozen? = @__frozen__ ? true : super

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

      # Makes the calling fiber the main one of its thread.
      # @api private
      def setup_main_fiber
        @main = true
        @tag = :main
        @thread = ::Thread.current
        @running = true
        @ended = false
        @parent = nil
        @children = {}.compare_by_identity
        @watcher = @watchers = nil
        ::Thread.current.__take_main_fiber__(self)
      end

      # @api private
      def __prepare__(parent, tag, orig_caller, block)
        @parent = parent
        @tag = tag
        set_caller(orig_caller) if orig_caller
        @block = block
        @thread = ::Thread.current
      end

      # Ruby has refused to start the fiber, or another one just now: it ends as if its block had raised that.
      #
      # No interrupt comes in between, and asked again it says the same.
      # @api private
      def __refused__(error)
        return true if @refused
        return false if @running || @ended || !@thread

        reason = error ? error.message : "no stack is free"
        ::Thread.handle_interrupt(::Object => :never) do
          __end__(FiberError.new("#{reason}: Ruby cannot start another fiber. #{LIMIT}"), true)
          @refused = true
        end
      end

      LIMIT = "Each takes two mappings of the vm.max_map_count (65,530 by default) that a process may have: " \
              "let fewer wait at once, keep none that has ended, or raise it with sysctl."
      private_constant :LIMIT

      # What every spun fiber runs. One proc for all: a closure for each would weigh on every collection.
      # @api private
      LIFE = ::Ractor.make_shareable(proc { ::Fiber.current.__run__ })
      private_constant :LIFE

      # The whole life of a spun fiber.
      # @api private
      def __run__(block = @block)
        failed = false
        begin
          result = __live__(Polyphony.scheduler_of(@thread), block)
        rescue ::Exception => e
          result = e
          failed = true
        end
        result, failed = finalize_children(result, failed) unless @children.nil? || @children.empty?
        __let_go__ if @lock
        __end__(result, failed)
      rescue ::Exception => e
        __end_again__(e)
      ensure
        __killed__
        Polyphony.scheduler_of(@thread).leave
      end

      # Notes a lock that nothing takes back from a fiber that ends with it. Mostly it is the one noted last.
      # @api private
      def __holds__(lock)
        __holds_another__(lock) unless lock.equal?(@lock)
      end

      # @api private
      def __holds_another__(lock)
        return if @main || !@thread

        if @lock&.__held__?
          earlier = (@earlier_locks ||= {}.compare_by_identity)
          earlier.select! { |held, _| held.__held__? } if earlier.size >= MANY_LOCKS
          earlier[@lock] = true
        end
        @lock = lock
      end

      # How many locks a fiber may have had before those that it has given back are forgotten.
      MANY_LOCKS = 16
      private_constant :MANY_LOCKS

      # @api private
      def __let_go__
        @lock.__abandon__
        @earlier_locks&.each_key(&:__abandon__)
      end

      # The thread was killed while this fiber ran, or a signal came before its first word; the main fiber is next, and
      # ends what is left.
      # @api private
      def __killed__
        return if @ended

        children.each { |child| child.attach_to(@thread.main_fiber) }
        __end__(nil, false)
      end

      # Runs the block, again for each Restart.
      #
      # @return [Object] its result
      # @raise what ends the fiber with an error
      # @api private
      def __live__(scheduler, block)
        value = nil
        begin
          unless @running
            @running = true
            value = scheduler.enter
          end
          block.lambda? && block.arity.zero? ? block.call : block.call(value)
        rescue Restart => e
          value = e.value
          receive_all_pending # they were for the earlier run
          retry
        rescue MoveOn, Terminate => e
          e.value
        rescue ::LocalJumpError => e
          # A `break` out of a block whose method has returned: what the fiber was for has ended.
          e.reason == :break ? e.exit_value : ::Kernel.raise
        end
      end

      # @api private
      def __end__(result, failed)
        @result = result
        @ended = true
        @running = false
        watcher, watchers = @watcher, @watchers
        Polyphony.tell_end(self) if watcher || watchers || failed # before what follows from it
        raises = result.is_a?(::Exception)
        watcher&.finished(self, raises)
        watchers&.each_value { |other| other.finished(self, raises) }
        @watcher = @watchers = nil
        @parent&.__forget_child__(self)
        return unless failed

        Extensions::Fiber.remember_source(result, self)
        waiting = [watcher, *watchers&.values].any? { |one| one && one.waiter.equal?(@parent) }
        Polyphony.schedule(@parent, result, true) unless waiting || @parent.nil?
      end

      # A signal came in the last steps, where nothing else is raised: it goes to the main fiber, and whoever may
      # not have been told of the end looks for himself.
      # @api private
      def __end_again__(signal)
        return __end__(signal, true) unless @ended

        [@watcher, *@watchers&.values].each { |watcher| watcher&.look_again(self) }
        @parent&.__forget_child__(self)
        Polyphony.schedule(@thread.main_fiber, signal, true)
      end

      # Ends every fiber of the list and waits for them, whatever comes; the last exception is raised then. Where
      # more come than there is patience for, it does not wait any longer. The calling fiber and those it is
      # below cannot end before the call does: for them it does not wait.
      # @api private
      def __await_ends__(fibers, patience: nil)
        fibers -= ::Fiber.current.__lineage__
        gathering = Gathering.new(fibers)
        interrupted = nil
        begin
          gathering.wait_for_each
        rescue ::Exception => e
          interrupted = e
          ::Kernel.raise if patience && (patience -= 1).negative?
          gathering.recount
          fibers.each { |fiber| fiber.terminate unless fiber.dead? }
          retry
        end
        failed = gathering.failed
        ::Kernel.raise(interrupted) if interrupted
        ::Kernel.raise(failed.result) if failed
      ensure
        gathering&.end
      end

      # @return [Array<Fiber>] the fiber, its parent, and so on to the main one
      # @api private
      def __lineage__
        above = @parent ? @parent.__lineage__ : []
        above << self
      end

      # Tells a watcher of the end, once. A fiber has one that is its own key, mostly; the others are in a Hash.
      #
      # @return [Boolean] whether it will be told: not where the fiber has ended, or the key is known already
      # @api private
      def __watch__(key, watcher)
        __check_spun__
        if @ended
          watcher.already(self, @result.is_a?(::Exception))
          return false
        end
        return false if @watcher.equal?(key) || @watchers&.key?(key)

        if @watcher.nil? && watcher.equal?(key)
          @watcher = watcher
        else
          (@watchers ||= {}.compare_by_identity)[key] = watcher
        end
        true
      end

      # @api private
      def __unwatch__(key)
        @watcher.equal?(key) ? @watcher = nil : @watchers&.delete(key)
      end

      # @api private
      def __forget_child__(child)
        @children&.delete(child)
      end

      # @api private
      def __adopt_child__(child)
        return if child.dead? # nobody will be told of its end

        (@children ||= {}.compare_by_identity)[child] = true
        # A signal's handler is over when it ends: a supervisor is not to run it again.
        child.monitor(self) if @supervising && !child.oob
      end

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

      # A parent ends after its children, and so can be none of them.
      def __check_parent__(parent)
        ::Kernel.raise ::TypeError, "only a Fiber can be a parent, not #{parent.class}" unless ::Fiber === parent

        parent.__send__(:__check_spun__)
        ::Kernel.raise FiberError, "#{parent.inspect} has ended: it can be no parent" if parent.dead?
        # One that waited for its child in another thread, which ends without it, would wait for ever.
        unless parent.thread.equal?(@thread || ::Thread.current)
          ::Kernel.raise FiberError, "#{parent.inspect} belongs to another thread: it can be no parent of #{inspect}"
        end

        above = parent
        above = above.parent until above.nil? || above.equal?(self)
        ::Kernel.raise FiberError, "#{inspect} cannot be its own parent, nor that of its parent" if above
      end

      def __schedule__(value, first)
        __check_spun__
        Polyphony.schedule(self, value, first)
        self
      end

      # The exception that `raise` with these arguments would raise.
      # @api private
      def self.exception(*args, **options)
        case args
        in [] then ::RuntimeError.new("unhandled exception")
        in [::String => message] then ::RuntimeError.new(message)
        in [::Class => made, *rest] if made <= ::Exception then made.exception(*rest.first(1))
        in [made, *rest] if made.respond_to?(:exception) then made.exception(*rest.first(1))
        else ::Kernel.raise ::TypeError, "exception class/object expected"
        end.tap do |exception|
          exception.set_backtrace(args[2]) if args[2]
          give_cause(exception, options[:cause]) if options.key?(:cause)
        end
      end

      # Only a raise sets a cause.
      def self.give_cause(exception, cause)
        ::Kernel.raise(exception, cause: cause)
      rescue ::Exception => e
        ::Kernel.raise unless e.equal?(exception)
      end
      private_class_method :give_cause

      # Lets an exception tell which fiber it ended.
      # @api private
      def self.remember_source(exception, fiber)
        return if exception.frozen? || exception.instance_variable_defined?(:@__origin__)

        exception.instance_variable_set(:@__origin__, Origin.new(fiber))
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

  # Ends the main fiber's children: the last thing that the process does.
  #
  # @api private
  def self.finish
    return unless scheduler

    snooze if Signals.pending? # a signal came after the last switch: its handler begins
    main = ::Fiber.current
    handlers = main.children.select(&:oob)
    ::Fiber.await(*handlers) # as Ruby's own end waits for a handler
    ::Fiber.scheduler.finish_at_exit if ::Fiber.scheduler.is_a?(FiberScheduler)
    # A child that will not end is told again by the next signal, and left by the one after it.
    main.__await_ends__(main.terminate_all_children.children, patience: 1)
  end
end
