# frozen_string_literal: true

require_relative "elsewhere"
require_relative "selecting"

module Polyphony
  # Ruby's Fiber::Scheduler interface over the same run queue.
  #
  # Whatever is not overridden (stock Mutex, Thread#join, C extensions that call `rb_io_wait`) comes
  # here when it waits in a fiber that does not block. Alone, with no core class touched, it serves whoever
  # wants the standard interface only:
  #
  # @example
  #   require "polyphony/bare"
  #   Fiber.set_scheduler(Polyphony::FiberScheduler.new)
  #   Fiber.schedule { puts Net::HTTP.get(URI("http://localhost:8080")) }
  #
  # A hook that another fiber ends by raising raises that. A hook of Ruby's that wants a negative errno gets it.
  #
  # The hooks that Ruby calls most are Rust.
  #
  # @see https://docs.ruby-lang.org/en/master/Fiber/Scheduler.html
  #
  # @!method block(blocker, timeout = nil)
  #   Waits until `unblock` names the fiber, whatever the blocker, or the time is up: Ruby's own callers look again.
  #   @return [Boolean] whether it was unblocked
  # @!method unblock(blocker, fiber)
  #   Ends a `block`; from any thread; never raises. One that comes before its `block` is not lost.
  # @!method kernel_sleep(duration = nil)
  #   @param duration [Numeric, nil] seconds; nil is for ever, and 0 lets the others run once
  #   @return [true]
  # @!method io_wait(io, events, timeout = nil)
  #   @return [Integer, false] the events that are ready, false when the time is up
  # @!method io_read(io, buffer, length, offset = 0)
  #   @param length [Integer] how many bytes are wanted at least; 0 for what there is
  #   @return [Integer] how many were read, 0 at the end, or a negative errno (`-EAGAIN` where none is there and 0 are
  #     wanted, but for `sysread`, which does not ask again: there it waits)
  # @!method io_write(io, buffer, length, offset = 0)
  #   @param length [Integer] how many bytes are to be written at least. With 0 it waits for room for some, too:
  #     `syswrite` does not ask again, and `write_nonblock` never comes here.
  #   @return [Integer] how many bytes were written, or a negative errno
  class FiberScheduler
    # @param scheduler [Scheduler, nil] the thread's, where it has been made
    def initialize(scheduler = nil)
      @scheduler = scheduler
      @scheduled = 0
      @closer = nil
      @process = ::Process.pid
      @told = nil
    end

    # Lets the others run once (Ruby 4.0).
    # @return [true]
    def yield = kernel_sleep(0)

    # @param from [Integer] where in the file
    # @see #io_read
    def io_pread(io, buffer, from, length, offset = 0)
      here
      Native.io_read(io, buffer, from, offset, length, nil)
    end

    # What Ruby calls without its lock before 4.0, which ends in a deadlock: so there it is no hook.
    module FromFour
      # @see FiberScheduler#io_pread
      def io_pwrite(io, buffer, from, length, offset = 0)
        here
        Native.io_write(io, buffer, from, offset, length, nil)
      end
    end

    include FromFour if ::RUBY_VERSION >= "4.0"

    # Ruby hands on as many arguments as the caller of IO.select gave.
    #
    # @return [Array(Array, Array, Array), nil] as of IO.select
    def io_select(reading, writing = nil, failing = nil, timeout = nil)
      here
      Selecting.select(reading, writing, failing, timeout) do |*sets|
        # Ruby 3.1 knows no such hook, and asks nobody.
        ::Fiber.respond_to?(:blocking) ? ::Fiber.blocking { ::IO.select(*sets) } : ::IO.select(*sets)
      end
    end

    # Ends the waits on a descriptor that Ruby closes (4.0), and leaves it to Ruby to close it.
    #
    # @param descriptor [Integer]
    # @return [false]
    def io_close(descriptor)
      Polyphony.let_go(descriptor)
      false
    end

    # @param flags [Integer] as of waitpid(2)
    # @return [Process::Status, nil] nil with `WNOHANG`, where no child has anything to say
    def process_wait(pid, flags)
      here
      Native.await_process(pid, flags) if flags.nobits?(::Process::WNOHANG)
      ::Process::Status.wait(pid, flags | ::Process::WNOHANG)
    end

    # Runs the block; an alarm raises in it when the time is up, also where it computes.
    #
    # @return [Object] the block's value
    def timeout_after(duration, exception = nil, message = nil)
      given = [exception || ::Timeout::Error, message || "execution expired"]
      Timeouts.raise_after(duration, given, watched: true) { yield duration }
    end

    # Looks a name up in a thread that runs no fibers: no name server holds the others up.
    #
    # @return [Array<String>, nil] its addresses; nil where it has none
    def address_resolve(name)
      host = name[/\A[^%]*/]
      Polyphony.elsewhere { ::Addrinfo.getaddrinfo(host, nil, nil, :STREAM).map(&:ip_address).uniq }
    rescue ::SocketError
      nil
    end

    # Runs what would hold the thread in another (Ruby 3.4).
    #
    # A fiber that is cancelled waits for its end, which comes soon: Ruby keeps on that fiber's stack what the work
    # writes to. And it is begun in any case, for it may be what closes a descriptor, which Ruby has forgotten by then.
    #
    # @param work [#call]
    # @return [Object] its value
    def blocking_operation_wait(work)
      Polyphony.elsewhere(leaving: false, owed: true) { work.call }
    end

    # Raises in a fiber that waits, from any thread (Ruby 4.0).
    #
    # @param fiber [Fiber, #raise] the fiber, or what stands for it while it waits (Ruby 4.1)
    # @return [void]
    def fiber_interrupt(fiber, exception)
      return Polyphony.schedule(fiber, exception, true) if ::Fiber === fiber # what stands for one has no is_a?

      @scheduler&.interject_main(proc { fiber.raise(exception) if fiber.alive? })
    end

    # Makes and starts a fiber: `Fiber.schedule`.
    #
    # @return [Fiber]
    def fiber(**options, &block)
      scheduler = here
      fiber = ::Fiber.new(blocking: false, **options) do
        scheduler.enter
        block.call
      ensure
        Polyphony.schedule(@closer, nil, false) if count(-1).zero? && @closer
        scheduler.leave
      end
      count(1)
      scheduler.adopt(fiber)
      scheduler.yield_to(fiber)
      fiber
    end

    # Runs the fibers until those of `Fiber.schedule` have ended.
    #
    # @return [void]
    # @raise [Deadlock] where they never will
    def run
      @closer = ::Fiber.current
      here.suspend until count(0).zero?
    rescue Deadlock
      @told = now
      raise
    ensure
      @closer = nil
    end

    # The thread ends, or another scheduler takes over: what `Fiber.schedule` began is finished first, unless the
    # thread was killed, or a signal ends it.
    #
    # The main thread's scheduler goes on where the drop-in is loaded, for what comes `at_exit`, or in the trap of the
    # end; Ruby takes the hooks away before that, and they are put back first of all there.
    # @return [void]
    # @raise [Deadlock] where they never will, unless {#run} has told so of the same fibers
    def scheduler_close
      run unless ::Thread.current.status == "aborting" || $!.is_a?(::SignalException) || told?
      return if main?

      fiber = ::Fiber.current
      fiber.shutdown_all_children if fiber.respond_to?(:shutdown_all_children)
    ensure
      main? ? return_at_exit : Polyphony.scheduler&.close
    end
    alias close scheduler_close

    # What a handler of `at_exit` has begun by `Fiber.schedule` is finished, too.
    #
    # @api private
    # @return [void]
    def finish_at_exit
      run unless $!.is_a?(::SignalException)
    end

    # The hooks with the arguments in the order, and of the meaning, that they have from Ruby 4.1 on: the offset
    # first, and then how many bytes at most, in one transfer.
    module FourthOrder
      # @see FiberScheduler#io_read
      def io_read(io, buffer, offset, length)
        here
        Native.io_read(io, buffer, nil, offset, 0, length)
      end

      # @see FiberScheduler#io_write
      def io_write(io, buffer, offset, length)
        here
        Native.io_write(io, buffer, nil, offset, 0, length)
      end

      # @see FiberScheduler#io_pread
      def io_pread(io, buffer, from, offset, length)
        here
        Native.io_read(io, buffer, from, offset, 0, length)
      end

      # @see FiberScheduler#io_pwrite
      def io_pwrite(io, buffer, from, offset, length)
        here
        Native.io_write(io, buffer, from, offset, 0, length)
      end
    end

    prepend FourthOrder if ::RUBY_VERSION >= "4.1"

    private

    def main? = ::Thread.current == ::Thread.main

    # The handler that is registered last runs first; but before all of them that of the trap for the end.
    def return_at_exit
      return unless ::Fiber.current.respond_to?(:shutdown_all_children)

      ::Kernel.at_exit { return_now }
      given = ::Signal.trap(:EXIT, "DEFAULT")
      return given && ::Signal.trap(:EXIT, given) unless given.respond_to?(:call)

      ::Signal.trap(:EXIT) do |signal|
        return_now
        given.call(signal)
      end
    end

    def return_now
      ::Fiber.set_scheduler(self) if Polyphony.scheduler && ::Fiber.scheduler.nil?
    end

    def now = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC)

    # Whether no fiber but the calling one has had a turn since a deadlock was told of, nor is to have one.
    def told?
      return false unless @told

      here.poll(true)
      since = now - @told
      here.fibers.all? { |fiber, _, _, seconds| fiber == ::Fiber.current || seconds > since }
    end

    # How many fibers of `Fiber.schedule` are alive. Those of the parent are not in the child of a fork.
    def count(more)
      if @process != ::Process.pid
        @process = ::Process.pid
        @closer = nil
        @scheduled = 0
      end
      @scheduled = [@scheduled + more, 0].max
    end

    # Whether a hook is called in a thread that runs no fibers, for a fiber of another's.
    # @api private
    def elsewhere? = !@scheduler.nil? && ::Fiber.scheduler.nil? && Polyphony.scheduler_of(::Thread.current).nil?

    # The thread's scheduler, made when a hook is first called. A trap handler has it, too, in the middle of a
    # fiber's wait.
    def here
      @scheduler = Polyphony.scheduler || Polyphony.scheduler_of(::Thread.current) || Scheduler.start
    end
  end
end
