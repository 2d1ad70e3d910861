# frozen_string_literal: true

require_relative "shield"

module Polyphony
  # Child processes that live as long as the fiber that watches them.
  module Process
    # Seconds that a process has to end when it is told to.
    PATIENCE = 5

    class << self
      # Runs a command, or the block in a fork, and waits for its end. When the fiber ends earlier, so does
      # the process.
      #
      # @param command [String, nil]
      # @return [::Process::Status]
      # @example
      #   supervise(*4.times.map { spin { Polyphony.watch_process { serve } } }, restart: :always)
      def watch(command = nil, &block)
        raise ::ArgumentError, "watch needs a command or a block" unless command || block

        pid = command ? ::Kernel.spawn(command) : Polyphony.fork(&block)
        status = ::Process.wait2(pid).last
      ensure
        Polyphony.shield { kill_process(pid) } if pid && !status
      end

      # Asks a process to end, makes it end where it does not, and waits for it.
      #
      # @param pid [Integer] a child of this process
      # @return [::Process::Status, nil] nil where there is no such child any more
      def kill_process(pid)
        ::Process.kill(:TERM, pid)
        Timeouts.within(PATIENCE) { ::Process.wait2(pid).last } || cut_short(pid)
      rescue ::Errno::ESRCH, ::Errno::ECHILD
        nil
      end

      private

      def cut_short(pid)
        ::Process.kill(:KILL, pid)
        ::Process.wait2(pid).last
      end
    end
  end

  # @see Process.watch
  def self.watch_process(command = nil, &block) = Process.watch(command, &block)

  # Forks a child that runs the block in a fresh main fiber, with a scheduler of its own, and ends with the
  # status that the block gives by `exit`: 0 otherwise, 1 where it fails.
  #
  # The parent's handlers of INT and TERM are not the child's.
  #
  # @return [Integer] the child's process id
  def self.fork
    ::Kernel.fork do
      %w[INT TERM].each { |signal| ::Kernel.trap(signal, "DEFAULT") }
      begin
        yield
      rescue MoveOn, Terminate
        nil # it was stopped, which is no failure
      ensure
        ::Fiber.current.shutdown_all_children if scheduler
      end
    end
  end
end
