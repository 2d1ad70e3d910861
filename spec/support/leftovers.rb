# frozen_string_literal: true

# What an example must not leave behind: fibers, operations, timers, descriptors, threads, processes.
module Leftovers
  # How often it is looked whether everything has ended by now.
  @patience = 400

  class << self
    attr_accessor :patience

    # Makes what is made once a process and stays: schedulers, their descriptors, lazily loaded code.
    def warm_up
      Polyphony.scheduler!
      spin { sleep 0.001 }.await
      Thread.new { Thread.current.backend }.join
      `true`
      ThreadGroup.new
    end

    # Runs the example, and fails where it leaves something.
    def check(example)
      before = present
      example.run
      return if example.exception

      left = settle(before)
      raise "left behind: #{left}" unless left.empty?
    end

    private

    # Endings take a few turns (a thread's, a descriptor's): bounded, and no longer than needed.
    def settle(before)
      left = {}
      patience.times do |round|
        left = present.to_h { |kind, all| [kind, all - before[kind]] }.reject { |_, more| none?(more) }
        return left if left.empty?

        GC.start if round == 3 # a ring goes with its scheduler
        sleep(round < 20 ? 0 : 0.002)
      end
      left
    end

    # Each that there is, or their number where they have no names.
    def present
      stats = Thread.current.backend.stats
      {
        fibers: stats[:fibers], operations: stats[:pending_ops], timers: stats[:timers],
        children: Fiber.current.children, threads: Thread.list - Polyphony::Elsewhere.idle.map(&:thread) - [Polyphony::Overdue.thread],
        processes: processes, descriptors: descriptors
      }
    end

    def none?(more) = more.is_a?(Integer) ? !more.positive? : more.empty?

    def descriptors
      Dir.children("/proc/self/fd").filter_map { |fd| target = target(fd) and [fd, target] }
    end

    def target(descriptor)
      File.readlink("/proc/self/fd/#{descriptor}")
    rescue Errno::ENOENT
      nil # the directory that was listed
    end

    # Linux keeps them by the thread that made them.
    def processes
      Dir.glob("/proc/self/task/*/children").flat_map { |file| children(file) }
    end

    def children(file)
      File.read(file).split
    rescue Errno::ENOENT, Errno::ESRCH
      [] # the thread has ended
    end
  end
end
