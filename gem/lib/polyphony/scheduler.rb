# frozen_string_literal: true

module Polyphony
  # All scheduling state of one thread; made by the extension.
  #
  # @!method self.start(backend: nil, entries: nil)
  #   Makes the calling thread's scheduler; the calling fiber becomes its main fiber.
  #   @param backend [String, nil] `io_uring`, `epoll` or `auto`; by default what POLYPHONY_BACKEND says
  #   @param entries [Integer, nil] size of the submission queue, a power of two
  #   @return [Scheduler]
  # @!method stats
  #   @return [Hash{Symbol => Integer}] counters since the thread began, and what is queued and in flight
  # @!method kind
  #   @return [Symbol] `:io_uring` or `:epoll`
  # @!method poll(blocking = false)
  #   Looks at what has happened, with true also in the kernel, and lets those run whom it concerns.
  #   @return [Scheduler] self
  # @!method describe
  #   @return [String] the backend and how it was set up
  class Scheduler
  end

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
    ::Fiber.set_scheduler(FiberScheduler.new(scheduler)) unless ::Fiber.scheduler
    scheduler
  end
  private_class_method :start
end
