# frozen_string_literal: true

module Polyphony
  module Extensions
    module Fiber
      # What a spun fiber runs from its first turn to its end, and who is told of that.
      #
      # The end is told once, to those who watch it and to the parent, whatever comes in between; the locks that it held
      # are let go of before.
      #
      # @api private
      module Life
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

          Life.remember_source(result, self)
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

        # Lets an exception tell which fiber it ended.
        # @api private
        def self.remember_source(exception, fiber)
          return if exception.frozen? || exception.instance_variable_defined?(:@__origin__)

          exception.instance_variable_set(:@__origin__, Origin.new(fiber))
        end
      end

      include Life
    end
  end
end
