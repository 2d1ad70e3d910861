# frozen_string_literal: true

module Polyphony
  module Extensions
    module Fiber
      # What ends a fiber, or has it begin again: an exception that is scheduled for it, and comes at its next turn.
      #
      # A stop ends it with a value, a cancellation or any other error with that error, which its parent hears of.
      module Ending
        # Raises in the fiber, when its turn comes.
        #
        # @return [Fiber] self
        def raise(*args, **options)
          return super unless @thread

          __schedule__(Ending.exception(*args, **options), false)
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
          @ended ? nil : __schedule__(Ending.exception(exception), false)
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
      end

      include Ending
    end
  end
end
