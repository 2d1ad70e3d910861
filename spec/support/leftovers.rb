# frozen_string_literal: true

# Counts what an example leaves behind.
module Leftovers
  ROUNDS = 400

  class << self
    # Makes what is made once a process and stays: schedulers, their descriptors, lazily loaded code.
    def warm_up
      Polyphony.scheduler!
      spin { sleep 0.001 }.await
      Thread.new { Thread.current.backend }.join
      `true`
      ThreadGroup.new
      @ready = true
    end

    def check(example)
      before = count
      example.run
      return if example.exception

      left = settle(before)
      raise "left behind: #{left}" unless left.empty?
    end

    private

    # Endings take a few turns (a thread's, a descriptor's): bounded, and no longer than needed.
    def settle(before)
      left = {}
      ROUNDS.times do |round|
        left = difference(before, count)
        return left if left.empty?

        GC.start if round == 3 # a ring goes with its scheduler
        sleep(round < 20 ? 0 : 0.002)
      end
      left
    end

    def count
      stats = Thread.current.backend.stats
      {
        fibers: stats[:fibers], operations: stats[:pending_ops], timers: stats[:timers],
        children: Fiber.current.children.size, threads: Thread.list.size, processes: processes,
        descriptors: Dir.children("/proc/self/fd").to_h { |fd| [fd, target(fd)] }.compact
      }
    end

    def difference(before, after)
      after.reject { |key, value| before[key] == value }.to_h do |key, value|
        [key, value.is_a?(Hash) ? (value.to_a - before[key].to_a) : [before[key], value]]
      end.reject { |key, value| key == :descriptors && value.empty? }
    end

    def target(descriptor)
      File.readlink("/proc/self/fd/#{descriptor}")
    rescue Errno::ENOENT
      nil # the directory that was listed
    end

    def processes
      File.read("/proc/#{Process.pid}/task/#{Process.pid}/children").split.size
    end
  end
end
