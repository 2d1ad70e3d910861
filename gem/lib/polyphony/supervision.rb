# frozen_string_literal: true

require_relative "gathering"

module Polyphony
  # Who hears of a fiber's end, who runs it again, and how long it may take to end. Part of every Fiber where
  # the drop-in is loaded.
  #
  # A monitor is told of a fiber's end by a message; an error of which the parent hears that way is not
  # raised in it.
  module Supervision
    # One that is told by a message.
    #
    # @api private
    class Monitoring
      # @return [Fiber] the one that is told
      attr_reader :waiter

      def initialize(waiter)
        @waiter = waiter
      end

      # Called by a fiber that ends, or has ended. Whatever has become of the mailbox, the end goes on.
      def finished(fiber, _failed)
        @waiter.monitor_mailbox << [fiber, fiber.result] unless @waiter.dead?
      rescue ::ClosedQueueError
        nil # nobody listens any more
      end
      alias already finished

      # Called by a fiber of whose end the waiter may not have heard: better twice than never.
      def look_again(fiber) = finished(fiber, nil)
    end

    # Seconds between the attempts to end a fiber whose time is over and that waits once more.
    CUT_AGAIN = 0.01
    private_constant :CUT_AGAIN

    # Hears of the end of each fiber given and of each child, for ever. Call it in the fiber itself.
    #
    # @note Suspends until the block breaks or raises StopIteration, or something is raised here.
    # @param fibers [Array<Fiber>] become children of this one; without any, the children that there are
    # @param on_done [#call, nil] called with each fiber that has ended, and its result
    # @param on_error [#call, nil] called with each fiber that has failed, and the exception
    # @param restart [Boolean, Symbol, nil] `:always` or true: whatever ended it; `:on_error`: where it failed
    # @yield [fiber, result] in place of the options
    # @return [Object] the value of the `break`
    # @example
    #   spin { supervise(spin { serve }, restart: :on_error) }
    def supervise(*fibers, on_done: nil, on_error: nil, restart: nil, &block)
      __check_spun__
      ::Kernel.raise FiberError, "a fiber supervises for itself: call it there" unless equal?(::Fiber.current)

      strangers = fibers.grep_v(::Fiber)
      ::Kernel.raise ::TypeError, "only a Fiber can be supervised, not #{strangers.first.class}" if strangers.any?

      heard = block || Supervision.policy(on_done, on_error, restart)
      @supervising = true
      fibers = children.reject(&:oob) if fibers.empty?
      fibers.each { |fiber| (equal?(fiber.parent) ? fiber : fiber.attach_to(self)).monitor(self) }
      ::Kernel.loop { heard.call(*monitor_mailbox.shift) }
    ensure
      @supervising = false
    end

    # What to do about an end, from the options of {#supervise}.
    # @api private
    def self.policy(on_done, on_error, restart)
      unless [nil, false, true, :always, :on_error].include?(restart)
        raise ::ArgumentError, "restart is :always, true or :on_error, not #{restart.inspect}"
      end
      { on_done: on_done, on_error: on_error }.compact.each do |name, called|
        raise ::TypeError, "#{name} is something to call, not #{called.inspect}" unless called.respond_to?(:call)
      end

      lambda do |fiber, result|
        failed = result.is_a?(::Exception)
        on_done&.call(fiber, result)
        on_error&.call(fiber, result) if failed
        fiber.restart if restart && (failed || restart != :on_error)
      end
    end

    # Lets another fiber hear of this one's end, in its {#monitor_mailbox}.
    #
    # @return [Fiber] self
    # @raise [TypeError] where it is no Fiber
    # @raise [FiberError] where it was never initialized
    def monitor(fiber)
      __check_spun__
      ::Kernel.raise ::TypeError, "only a Fiber can monitor another, not #{fiber.class}" unless ::Fiber === fiber

      fiber.alive? # which is refused now, and not at the end, where nothing ever made it one
      (@monitors ||= []) << fiber unless @monitors&.include?(fiber)
      __watch__(fiber, Monitoring.new(fiber))
      self
    end

    # Takes {#monitor} back.
    #
    # @return [Fiber] self
    def unmonitor(fiber)
      @monitors&.delete(fiber)
      __unwatch__(fiber)
      self
    end

    # @return [Array<Fiber>] those that hear of this one's end
    def monitors = @monitors.to_a.dup

    # @return [Thread::Queue] a `[fiber, result]` for each end of a fiber that this one monitors
    def monitor_mailbox
      @monitor_mailbox ||= ::Thread::Queue.new
    end

    # Makes the fiber a child of another, which hears of its end.
    #
    # @return [Fiber] self
    def attach_and_monitor(parent)
      attach_to(parent)
      monitor(parent)
    end

    # Gives every child another parent; their order stays.
    #
    # @return [Fiber] self
    def attach_all_children_to(parent)
      children.each { |child| child.attach_to(parent) }
      self
    end

    # Takes a fiber among the children, without asking its parent. {Extensions::Fiber#attach_to} does both.
    #
    # @return [Fiber] self
    # @raise [TypeError] where it is no Fiber
    def add_child(child)
      ::Kernel.raise ::TypeError, "only a Fiber can be a child, not #{child.class}" unless ::Fiber === child

      __adopt_child__(child)
      self
    end

    # @see #add_child
    def remove_child(child)
      __forget_child__(child)
      self
    end

    # Runs a block in this fiber, at its next turn and in the middle of what it waits for, which goes on
    # afterwards. The block may wait, too. What it raises is raised where the fiber waits.
    #
    # @return [Fiber] self
    # @raise [FiberError] where the fiber was never spun, or has ended
    def interject(&block)
      ::Kernel.raise ::ArgumentError, "interject needs a block to run" unless block

      __check_spun__
      ::Kernel.raise FiberError, "#{inspect} has ended" if dead? || !Polyphony.interject(self, block)

      self
    end

    # Ends what is still going on when the time for clean-up is over: this fiber and all below it.
    # @api private
    def __end_within__(seconds)
      Polyphony.scheduler!
      fiber = self
      ::Thread.current.main_fiber.spin(:grace) { Polyphony.shield { Supervision.cut_after(seconds, fiber) } }
    end

    # @api private
    def self.cut_after(seconds, fiber)
      gathering = Gathering.new([fiber])
      Timeouts.within(seconds) { gathering.wait_for_each }
      until fiber.dead?
        fiber.__cut__
        Timeouts.within(CUT_AGAIN) { gathering.wait_for_each }
      end
    ensure
      gathering&.end
    end

    # @api private
    def __cut__
      Polyphony.expose(self)
      Polyphony.schedule(self, Terminate.new, false)
      children.each(&:__cut__)
    end
  end
end
