# frozen_string_literal: true

module Polyphony
  module Extensions
    # Waiting for children without holding the thread, `$?` as ever.
    #
    # @see ::Process
    module Process
      def wait(pid = -1, flags = 0)
        __wait__(pid, flags) { |now| super(pid, now) }
      end

      def waitpid(pid = -1, flags = 0)
        __wait__(pid, flags) { |now| super(pid, now) }
      end

      def wait2(pid = -1, flags = 0)
        __wait__(pid, flags) { |now| super(pid, now) }
      end

      def waitpid2(pid = -1, flags = 0)
        __wait__(pid, flags) { |now| super(pid, now) }
      end

      def waitall
        return super unless Polyphony.scheduler

        ended = []
        loop { ended << wait2 }
      rescue ::Errno::ECHILD
        ended
      end

      # In the child of a fork the calling fiber is the main one, and the only one.
      def _fork
        pid = super
        ::Fiber.current.setup_main_fiber if pid.zero? && Polyphony.scheduler
        pid
      end

      private

      def __wait__(pid, flags)
        flags = flags.to_i
        return yield(flags) if Polyphony.scheduler.nil? || flags.anybits?(::Process::WNOHANG)

        loop do
          Polyphony::Native.await_process(pid, flags)
          ended = yield(flags | ::Process::WNOHANG)
          return ended if ended
        end
      end
    end
  end

  # Forks a child that runs the block in a fresh main fiber, with a scheduler of its own, and ends.
  #
  # @return [Integer] the child's process id
  def self.fork
    ::Kernel.fork do
      yield
    ensure
      ::Fiber.current.shutdown_all_children if scheduler
    end
  end
end
