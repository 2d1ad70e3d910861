# frozen_string_literal: true

module Polyphony
  # Threads that run no fibers: for calls of Ruby's that hold their thread and tell no scheduler (open(2) of a
  # FIFO, getaddrinfo(3)).
  #
  # A call never waits for another one to end: there is a thread for each. A few stay when they have nothing to do.
  #
  # @api private
  class Elsewhere
    # How many threads wait for the next call.
    KEPT = 4
    MOVES_THREADS = ::RUBY_VERSION >= "3.3"
    private_constant :KEPT, :MOVES_THREADS

    class << self
      # @return [Elsewhere] one that has nothing to do
      def take
        while (waiting = idle.pop)
          return waiting if waiting.usable?
        end
        new
      end

      # Takes one back. False where there are enough.
      def keep(waiting)
        idle.size < KEPT && !!idle.push(waiting)
      end

      # Since 3.3, Ruby moves the threads of a Ractor between those of the system, and loses wakes where one of them is
      # kept on its own, as ours must be (the crate's `scheduler::native_thread` says why). So a Ractor with a scheduler
      # gets no other thread from us: what is called there holds that Ractor, and no other.
      #
      # @return [Boolean] whether a call is made where it is
      def here? = MOVES_THREADS && !::Ractor.current.equal?(::Ractor.main)

      # @return [Array<Elsewhere>] those that wait for the next call: each Ractor has its own
      def idle = ::Ractor.current[:__polyphony_elsewhere__] ||= []
    end

    # @return [Thread]
    attr_reader :thread

    def initialize
      @calls = ::Thread::Queue.new
      @stopped = false
      @thread = ::Thread.new { work }
      @thread.name = "polyphony elsewhere"
    end

    # Runs the block in this thread.
    #
    # @note Suspends the calling fiber. One that is cancelled does not wait for the block, which ends as soon as
    #   Ruby can end it, unless `leaving` is false. One that is `owed` is begun in any case.
    def run(block, leaving: true, owed: false)
      call = Call.new(block)
      @calls << call
      call.value(@thread)
    ensure
      shielded { call.hurry(@thread) } if owed && call && !call.over?
      unless call&.over?
        stop
        shielded { call.wait(@thread) } unless leaving || call.nil?
      end
    end

    # Ends the thread, and what it runs. It may hear of that only when it waits for its next call.
    def stop
      @stopped = true
      @thread.kill
    end

    # Whether it may be called: it was not stopped, and no fork has left its thread behind.
    def usable? = !@stopped && @thread.alive?

    private

    # What `Polyphony.shield` does, which is not there where the scheduler is alone.
    def shielded
      scheduler = Polyphony.scheduler
      scheduler.shield(nil)
      yield
    ensure
      scheduler.unshield(nil, true, !$!.nil?)
    end

    # A block that made the thread a scheduler, as a word to `Fiber.current` does, may have left something for
    # its main fiber there, which would end the next call: such a thread ends with it.
    def work
      while (call = @calls.pop)
        call.run
        break if Polyphony.scheduler || !Elsewhere.keep(self)
      end
    end

    # A block that runs in another thread, and the fiber that waits for it.
    class Call
      # Seconds after which it looks whether the thread is alive: whoever kills all threads kills that one, too.
      LOOK = 0.1
      private_constant :LOOK

      def initialize(block)
        @block = block
        @begun = false
        @hurried = false
        @waiting = ::Fiber.current
        @over = false
      end

      # @return [Boolean] whether the block has ended
      def over? = @over

      def run
        @begun = true
        Polyphony.unblock(self, @waiting) if @hurried
        @error = ::ThreadError.new("the thread that ran the call was killed") # unless there is an end to it
        @value = @block.call
        @error = nil
      rescue ::Exception => e
        @error = e
      ensure
        @over = true
        Polyphony.unblock(self, @waiting)
      end

      # Waits for the end of the block, which another thread runs if somebody has killed that one before it began.
      def value(thread)
        wait(thread)
        return Elsewhere.take.run(@block) unless @begun

        ::Kernel.raise @error if @error
        @value
      end

      # Waits until the block has ended, or the thread has.
      def wait(thread) = wait_until(thread) { @over }

      # Waits until the block has begun. Where the thread has ended before, nobody runs it but the caller.
      def hurry(thread)
        @hurried = true
        wait_until(thread) { @begun }
        run unless @begun
      end

      private

      # Meanwhile fibers that never rest let the thread have Ruby's lock.
      def wait_until(thread)
        scheduler = Polyphony.scheduler
        scheduler.waits_elsewhere(1)
        scheduler.block(self, LOOK) until yield || !thread.alive?
      ensure
        scheduler.waits_elsewhere(-1)
      end
    end
    private_constant :Call
  end

  # Lets others run once, in the middle of what takes long and waits for nothing.
  #
  # @return [void]
  # @api private
  def self.breathe = scheduler&.block(:breathe, 0)

  # Runs the block in a thread that runs no fibers.
  #
  # @note Suspends the calling fiber until the block has ended.
  # @param leaving [Boolean] whether a fiber that is cancelled leaves the block behind, which may go on for a while
  # @param owed [Boolean] whether the block is begun although the fiber was cancelled before
  # @return [Object] what the block returned
  # @raise what the block raised
  # @api private
  def self.elsewhere(leaving: true, owed: false, &block)
    return yield unless scheduler

    Elsewhere.here? ? ::Fiber.blocking { yield } : Elsewhere.take.run(block, leaving: leaving, owed: owed)
  end
end
