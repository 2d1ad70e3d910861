# frozen_string_literal: true

module Polyphony
  module Extensions
    module Fiber
      # A fiber's children: nobody outlives the fiber that it belongs to, unless it is given to another.
      #
      # A fiber that ends, ends its children, and waits for them.
      module Family
        # @return [Fiber, nil] the fiber that spun it
        attr_reader :parent

        # Moves no child: {#attach_to} does.
        #
        # @param parent [Fiber, nil]
        # @raise [TypeError, FiberError] as {#attach_to}
        def parent=(parent)
          __check_parent__(parent) unless nil == parent
          @parent = parent
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
      end

      include Family
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
