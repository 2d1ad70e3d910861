# frozen_string_literal: true

module Polyphony
  # What waits in the kernel, for the overrides and the classes of {Extensions}; made by the extension.
  #
  # @api private
  module Native
    # A stream that compresses or decompresses, a piece at a time, for {Compression}.
    #
    # @!method self.deflate(bare)
    #   @param bare [Boolean] without header and footer, which zlib's format has
    #   @return [Deflation]
    # @!method self.inflate(bare)
    #   @return [Deflation]
    # @!method run(bytes, place)
    #   @return [String] what came out of what stands there from a place on
    # @!method finish
    #   @return [String] what comes out behind the last; all of it did where the stream then is finished
    # @!method close
    #   Gives its memory back.
    # @!method place
    #   @return [Integer] where the last {#run} ended
    # @!method hungry?
    #   Whether it took all that it was lent, and needs more.
    # @!method finished?
    #   Whether its end came.
    # @!method sum
    #   @return [Integer] of what is not compressed the CRC-32, where the stream is bare
    # @!method length
    #   @return [Integer] of what is not compressed the bytes, modulo 2 ** 32, where the stream is bare
    # @api private
    class Deflation; end
  end

  # All scheduling state of one thread; made by the extension.
  #
  # @!method self.start(backend: nil, entries: nil)
  #   Makes the calling thread's scheduler; the calling fiber becomes its main fiber.
  #   @param backend [String, nil] `io_uring`, `epoll` or `auto`; by default what POLYPHONY_BACKEND says
  #   @param entries [Integer, nil] size of the submission queue, a power of two
  #   @return [Scheduler]
  # @!method stats
  #   What the scheduler has done, and what there is to do.
  #
  #   - `runqueue_size`: for how many fibers the run queue has room without growing; `runqueue_length`: how many
  #     are ready; `runqueue_max_length`: how many were at most
  #   - `op_count`, `switch_count`, `poll_count`: operations, switches and looks at the kernel, since somebody
  #     asked last
  #   - `pending_ops`, `timers`, `fibers`: how many there are; `fibers_peak`: how many there were at most
  #   - `completed`, `cancelled`, `queued`, `retried`: operations, since the thread began
  #
  #   @return [Hash{Symbol => Integer}]
  # @!method fibers
  #   What {Polyphony.dump} tells: a fiber, what it does, on which descriptor, and for how many seconds.
  #   @api private
  # @!method kind
  #   @return [Symbol] `:io_uring` or `:epoll`
  # @!method poll(blocking = false)
  #   Looks at what has happened, with true also in the kernel, and lets those run whom it concerns.
  #   @return [Scheduler] self
  # @!method describe
  #   @return [String] the backend and how it was set up
  # @!method stuck_since
  #   @return [Integer, nil] the turn since which only another thread, or a signal, can let the thread go on
  #   @api private
  # @!method called?
  #   @return [Boolean] whether a fiber is to run, or was woken by another thread
  #   @api private
  # @!method suspend
  #   Waits until somebody schedules the calling fiber, also where nothing seems to be able to.
  #   @return [Object, nil] what it was scheduled with
  # @!method wake
  #   Ends the wait of the thread, if it is blocked in the kernel. From any thread.
  #   @return [void]
  # @!method signalled
  #   Says that handlers of signals wait to be given fibers.
  #   @api private
  # @!method waits_elsewhere(more)
  #   Says that one fiber more waits for what another thread does for it, or one less.
  #   @param more [Integer] 1 or -1
  #   @return [void]
  #   @api private
  # @!method interject_main(block)
  #   Lets the main fiber call a block, at once or in the middle of its wait. From any thread.
  #   @api private
  # @!method close
  #   Ends the scheduler of a thread that ends.
  #   @api private
  # @!method adopt(fiber)
  #   Takes a fiber in that calls {#enter} first and {#leave} last.
  #   @api private
  # @!method adopt_raw(fiber)
  #   Takes a fiber in that does neither.
  #   @api private
  # @!method enter
  #   The first thing that an adopted fiber does: what was it started with?
  #   @api private
  # @!method leave
  #   The last thing that an adopted fiber does.
  #   @api private
  # @!method yield_to(fiber)
  #   Runs a fiber at once; the calling one is next.
  #   @api private
  # @!method block(blocker, limit)
  #   Waits for {Polyphony.unblock}.
  #   @api private
  # @!method alarm(seconds, exception, watched)
  #   Raises an exception in the running fiber in so many seconds; a key for {#rearm} and {#disarm}.
  #   @api private
  # @!method rearm(timer, seconds)
  #   Moves an alarm.
  #   @api private
  # @!method disarm(timer, marker = nil)
  #   Forgets an alarm, and takes back a marker that was scheduled and not raised.
  #   @api private
  # @!method shield(limit)
  #   Keeps off what others raise in the running fiber. A key for {#unshield}, or nil.
  #   @api private
  # @!method unshield(timer, finished, unwinding)
  #   Raises what was kept off, at once or at the next wait.
  #   @api private
  # @!method trace_hook=(hook)
  #   What {BackendTiming#trace_proc=} sets.
  #   @api private
  # @!method idle_hook=(hook)
  #   What is called where no fiber is ready.
  #   @api private
  class Scheduler
  end

  # @!method self.scheduler
  #   @return [Scheduler, nil] the calling thread's
  # @!method self.scheduler_of(thread)
  #   @return [Scheduler, nil] that of another thread
  # @!method self.schedule(fiber, value, first)
  #   Queues a fiber, with a value or an exception to raise. What {Extensions::Fiber#schedule} does, in a word
  #   for every fiber.
  #   @param first [Boolean] before those that are ready
  #   @return [Boolean] whether it was queued; else it finds the value when it next waits
  # @!method self.tell_end(fiber)
  #   Lets the tracer hear that a fiber has ended, before it hears of those who waited for that.
  #   @api private
  # @!method self.unblock(blocker, fiber)
  #   Ends a {Scheduler#block} of the same blocker.
  #   @api private
  # @!method self.trap_blocks
  #   @return [Integer] how many signal handlers of Ruby's are blocks
  #   @api private
  # @!method self.unschedule(fiber)
  #   Takes a fiber out of the run queue.
  #   @api private
  # @!method self.runnable?(fiber)
  #   @return [Boolean] whether it is in a run queue
  #   @api private
  # @!method self.let_go(io)
  #   Ends the waits of those who wait on a descriptor that is about to be closed.
  #   @api private
  # @!method self.interject(fiber, block)
  #   Lets a fiber call a block in the middle of its wait.
  #   @api private
  # @!method self.expose(fiber)
  #   From now on no shield helps the fiber.
  #   @api private
  # @!method self.detain(fiber, on)
  #   Holds a fiber up, or lets it go on.
  #   @api private
  # @!method self.detained?(fiber)
  #   @api private
  # @!method self.watch_stretches(threshold)
  #   Lets {Watchdog} hear of fibers that hold their thread for longer; with nil, no longer.
  #   @api private
  # @!method self.interrupt_overdue(raise, may_end)
  #   Raises in the threads whose running fiber's timeout is over. For how many seconds there is nothing to do then;
  #   nil where nobody need look again.
  #   @api private
  # @!method self.wake_sleeper(thread)
  #   Ends the `sleep` of a thread's main fiber, where it is in one.
  #   @api private

  # The calling thread's scheduler, made if need be.
  #
  # @param options [Hash] as for {Scheduler.start}, where it is made
  # @return [Scheduler]
  # @raise [RuntimeError] where another fiber scheduler serves the thread already
  def self.scheduler!(**options)
    scheduler || start(**options)
  end

  # The directory whose lines no backtrace names.
  HOME = "#{File.expand_path("..", __dir__)}/".freeze
  private_constant :HOME

  # @api private
  def self.without_home(lines) = lines.reject { |line| line.start_with?(HOME) }

  # Where a block stands that another runs for it, as `spin` takes it.
  # @api private
  def self.place_of(block) = block.source_location && [block.source_location.join(":")]

  # Where the user's code is.
  # @api private
  def self.caller_lines = without_home(caller(1))

  # @api private
  def self.start(**options)
    if ::Fiber.scheduler && !::Fiber.scheduler.is_a?(FiberScheduler)
      raise "#{::Fiber.scheduler.class} serves this thread already: " \
            "use Polyphony in another thread, or Polyphony::FiberScheduler in its place"
    end

    raise "Polyphony cannot switch fibers in a hook or a handler" if scheduler_of(::Thread.current)

    scheduler = Scheduler.start(**options)
    Extensions::Late.install if defined?(Extensions::Late)
    ::Fiber.current.setup_main_fiber if ::Fiber.current.respond_to?(:setup_main_fiber)
    Signals.dump_at_quit if defined?(Signals) && ::Thread.current == ::Thread.main && ::Ractor.current == ::Ractor.main
    ::Fiber.set_scheduler(FiberScheduler.new(scheduler)) unless ::Fiber.scheduler
    scheduler
  end
  private_class_method :start
end
