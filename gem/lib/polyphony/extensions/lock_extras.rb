# frozen_string_literal: true

module Polyphony
  module Extensions
    # What the original's locks could do and Ruby's cannot: let a condition variable of one's own give the lock
    # up for as long as it waits.
    #
    # @see ::Thread::Mutex
    module MutexExtras
      # Gives the lock up, to be taken again by {#conditional_reacquire}.
      #
      # @return [self]
      # @raise [ThreadError] where it is not the calling fiber's
      def conditional_release = unlock

      # Takes the lock again.
      #
      # @note Suspends the calling fiber until the lock is free.
      # @return [self]
      def conditional_reacquire = lock
    end

    # The same for monitors, which were mutexes in the original and have their names, too.
    #
    # @see ::Monitor
    module MonitorExtras
      # @see ::Monitor#enter
      # @return [self]
      def lock
        enter
        self
      end

      # @see ::Monitor#exit
      # @return [self]
      def unlock
        self.exit
        self
      end

      # @see ::Monitor#try_enter
      # @return [Boolean]
      def try_lock = try_enter

      # @return [Boolean] whether it is the calling fiber's
      def owned? = mon_owned?

      # @return [Boolean] whether it is somebody's
      def locked? = mon_locked?

      # Leaves the monitor as often as the calling fiber has entered it.
      #
      # @return [self]
      # @raise [ThreadError] where it is not the calling fiber's
      def conditional_release
        mon_check_owner
        entered = 0
        while mon_owned?
          entered += 1
          (@released ||= {}.compare_by_identity)[::Fiber.current] = entered
          self.exit
        end
        self
      end

      # Enters it as often again.
      #
      # @note Suspends the calling fiber until the monitor is free.
      # @return [self]
      # @raise [ThreadError] where it was not released
      def conditional_reacquire
        entered = @released&.delete(::Fiber.current)
        ::Kernel.raise ::ThreadError, "the monitor was not released by this fiber" unless entered

        entered.times { enter }
        self
      end
    end
  end
end
