# frozen_string_literal: true

module Polyphony
  module Extensions
    # Waiting for children without holding the thread, `$?` as ever.
    #
    # @see ::Process
    module Process
      # @see ::Process#wait
      # @note Suspends the calling fiber, here and below, unless WNOHANG is among the flags.
      def wait(pid = -1, flags = 0)
        __wait__(pid, flags) { |now| super(pid, now) }
      end

      # @see ::Process#waitpid
      def waitpid(pid = -1, flags = 0)
        __wait__(pid, flags) { |now| super(pid, now) }
      end

      # @see ::Process#wait2
      def wait2(pid = -1, flags = 0)
        __wait__(pid, flags) { |now| super(pid, now) }
      end

      # @see ::Process#waitpid2
      def waitpid2(pid = -1, flags = 0)
        __wait__(pid, flags) { |now| super(pid, now) }
      end

      # @see ::Process#waitall
      def waitall
        return super unless Polyphony.scheduler

        ended = []
        loop { ended << wait2 }
      rescue ::Errno::ECHILD
        ended.empty? ? super : ended # which also clears `$?`
      end

      # In the child of a fork the calling fiber is the main one, and the only one.
      def _fork
        pid = super
        ::Fiber.current.setup_main_fiber if pid.zero? && Polyphony.scheduler
        pid
      end

      # Waits for a child in the background, and takes its status.
      #
      # @return [Fiber, Thread] whose `value` is the status, and which knows the `pid`. A fiber of the
      #   thread's main fiber; where no fibers run, a thread as ever.
      def detach(pid)
        return super unless Polyphony.scheduler && INTS === pid # rubocop:disable Style/CaseEquality

        # Not `wait2`: `$?` is the thread's, and of what others wait for.
        waiter = ::Thread.current.main_fiber.spin(:detach) do
          status = ::Process::Status.wait(pid)
          status if status && status.pid.positive? # else somebody took it
        end
        waiter.define_singleton_method(:pid) { pid }
        waiter
      end

      # The daemon's calling fiber is its main one.
      def daemon(...)
        daemon = super
        ::Fiber.current.setup_main_fiber if Polyphony.scheduler
        daemon
      end

      # @see ::Kernel#trap
      def trap(...) = ::Kernel.trap(...)

      # What the original had to make statuses of.
      module Status
        # @param pid_and_status [Array(Integer, Integer)] as waitpid(2) gives them
        # @return [::Process::Status]
        def from_status_array(pid_and_status)
          pid, status = *pid_and_status
          # In a thread of its own: `$?` is the thread's.
          thread = ::Thread.new { Native.make_last_status(pid, status) }
          thread.report_on_exception = false
          thread.value
        end
      end

      # What fits where waitpid(2) wants it.
      INTS = (-2**31...2**31)
      private_constant :INTS

      private

      def __wait__(pid, flags)
        flags = flags.to_i
        wrong = [pid, flags].any? { |number| number.nil? || (number.is_a?(::Integer) && !INTS.cover?(number)) }
        return yield(flags) if Polyphony.scheduler.nil? || wrong || flags.anybits?(::Process::WNOHANG)

        loop do
          Polyphony::Native.await_process(pid, flags)
          ended = yield(flags | ::Process::WNOHANG)
          return ended if ended
        end
      end
    end
  end
end
