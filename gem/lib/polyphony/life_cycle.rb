# frozen_string_literal: true

module Polyphony
  # The steps of a fiber's life by the original's names, for what makes fibers of its own. A fiber that is
  # spun takes them by itself. Part of every Fiber where the drop-in is loaded.
  #
  # @example What `spin` is made of
  #   fiber = Fiber.new { |first| fiber.run(first) }
  #   fiber.prepare(:tag, -> { sleep 1; :done }, caller, Fiber.current)
  #   Fiber.current.add_child(fiber)
  #   fiber.await # => :done
  module LifeCycle
    # Makes a fiber of `Fiber.new` that has not begun a spun one, and queues it. Its block is to call {#run}
    # and nothing else; its parent learns of it by {Supervision#add_child}.
    #
    # @param tag [Object, nil] a name for people
    # @param block [#call] what the fiber is for
    # @param caller [Array<String>, nil] where it was spun
    # @param parent [Fiber, nil] who hears of its errors
    # @return [Fiber] self
    # @raise [TypeError] where the block cannot be called, or the parent is no Fiber
    # @raise [FiberError] where it was spun already, or is running
    def prepare(tag, block, caller, parent)
      ::Kernel.raise ::ArgumentError, "a fiber needs a block to run" unless block
      ::Kernel.raise ::TypeError, "a fiber cannot run #{block.class}" unless block.respond_to?(:call)
      ::Kernel.raise FiberError, "#{inspect} was spun already" if @thread || equal?(::Fiber.current)
      __check_parent__(parent) unless nil == parent

      scheduler = Polyphony.scheduler!
      __prepare__(parent, tag, caller, block)
      scheduler.adopt(self)
      Polyphony.schedule(self, nil, false)
      self
    end

    # The whole life of a fiber that was prepared: runs its block, again for each restart, ends its children
    # and tells of its end. Call it in the fiber itself, last.
    #
    # @param first_value [Object, Exception, nil] given to the block, or raised, where the fiber was scheduled
    #   with nothing else
    # @raise [FiberError] where it was not prepared, or runs already, or is another one
    def run(first_value = nil)
      unless equal?(::Fiber.current) && @block && @running.nil?
        ::Kernel.raise FiberError, "run is for a fiber that was prepared and has just begun"
      end

      block = @block
      __run__(->(value) { LifeCycle.begin_with(value.nil? ? first_value : value, block) })
    end

    # @api private
    def self.begin_with(value, block)
      ::Kernel.raise(value) if value.is_a?(::Exception)
      return block.call(value) unless block.respond_to?(:lambda?) && block.lambda? && block.arity.zero?

      block.call
    end

    # Runs the block again from the top: of the calling fiber at once, of another one as
    # {Extensions::Fiber#restart} does.
    #
    # @note In the fiber itself it does not return.
    # @return [Fiber]
    def restart_self(first_value = nil)
      equal?(::Fiber.current) && !@main ? ::Kernel.raise(Restart.new(first_value)) : restart(first_value)
    end

    # Ends the calling fiber with a result, or with an exception that its parent hears of. Its clean-up runs.
    #
    # @note It does not return.
    # @raise [FiberError] for another fiber, and for a main one
    def finalize(result, uncaught_exception = false)
      unless equal?(::Fiber.current) && @thread && !@main
        ::Kernel.raise FiberError, "a spun fiber finalizes itself; to end another use stop"
      end

      ::Kernel.raise(uncaught_exception ? result : MoveOn.new(result))
    end

    # Ends the children, and waits for them.
    #
    # @return [Array(Object, Boolean)] what was given; or, where ending them fails, the exception and true
    def finalize_children(result, uncaught_exception)
      shutdown_all_children(graceful: graceful_shutdown?)
      [result, uncaught_exception]
    rescue MoveOn, Terminate
      [result, uncaught_exception] # told once more to end, which it does
    rescue ::Exception => e
      [e, true]
    end

    # Tells the monitors of a result, and the parent of an exception of which it does not hear that way. Who
    # awaits the fiber hears of its end only.
    def inform_monitors(result, uncaught_exception = false)
      monitors.each { |monitor| monitor.monitor_mailbox << [self, result] unless monitor.dead? }
      return unless uncaught_exception && result.is_a?(::Exception) # a value would end its next sleep
      return if @parent.nil? || monitors.include?(@parent)

      Polyphony.schedule(@parent, result, true)
    end
  end
end
