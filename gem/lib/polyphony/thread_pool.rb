# frozen_string_literal: true

require "etc"
require_relative "event"

module Polyphony
  # Threads for what would hold the fibers' thread: computing, and libraries that wait in C.
  #
  # @example
  #   digest = Polyphony::ThreadPool.process { Digest::SHA256.file(path).hexdigest }
  class ThreadPool
    class << self
      # Runs the block in a pool that is made at the first call and serves the whole process.
      #
      # @see ThreadPool#process
      def process(&block)
        (@default ||= new).process(&block)
      end

      # Ends that pool; the next call makes another.
      #
      # @return [void]
      def reset
        @default&.stop
        @default = nil
      end
    end

    # @return [Integer] how many threads
    attr_reader :size

    # @param size [Integer] as many threads as there are processors, by default
    def initialize(size = ::Etc.nprocessors)
      unless ::Integer === size && size.positive?
        raise ::ArgumentError, "a pool needs a thread at least, not #{size.inspect}"
      end

      @size = size
      @stopped = false
      start
    end

    # Runs the block in one of the threads.
    #
    # @note Suspends the calling fiber until the block is done. A fiber that is stopped meanwhile does not
    #   stop the block, whose result nobody hears.
    # @return [Object] the block's value
    # @raise what the block raises
    # @raise [ClosedQueueError] where the pool has been stopped
    def process(&block)
      raise ::ArgumentError, "process needs a block to run" unless block

      answer = Event.new
      add(-> { answer.signal(attempt(block)) })
      value, error = answer.await
      error ? raise(error) : value
    end

    # Runs the block in one of the threads, and does not wait. What it raises is written to `$stderr`.
    #
    # @return [ThreadPool] self
    # @raise [ClosedQueueError] where the pool has been stopped
    def cast(&block)
      raise ::ArgumentError, "cast needs a block to run" unless block

      add(-> { report(attempt(block).last) })
      self
    end

    # @return [Boolean] whether blocks wait for a thread
    def busy? = !@jobs.empty?

    # Ends the threads, when they have run what was given to them.
    #
    # @note Suspends the calling fiber until they have.
    # @return [void]
    def stop
      @stopped = true
      @jobs.close
      @threads.each(&:join)
    end

    private

    def start
      @process = ::Process.pid
      @jobs = ::Thread::Queue.new
      @threads = ::Array.new(@size) { ::Thread.new(@jobs) { |jobs| work(jobs) } }
    end

    # A fork leaves the threads behind.
    def add(job)
      start unless @stopped || @process == ::Process.pid
      @jobs << job
    end

    def work(jobs)
      while (job = jobs.pop)
        job.call
      end
    rescue ::StandardError, BaseException
      retry # a block left it for the fiber that the thread began with, as `Fiber.current.stop` does
    end

    # Whatever the block does, its thread goes on.
    def attempt(block)
      [block.call, nil]
    rescue ::Exception => e
      [nil, e]
    end

    def report(error)
      $stderr.write("#{inspect}: a block of cast failed: #{error.full_message}") if error
    end
  end
end
