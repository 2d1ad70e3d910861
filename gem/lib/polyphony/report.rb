# frozen_string_literal: true

module Polyphony
  # What every fiber of the process is doing, for people.
  #
  # @api private
  module Report
    module_function

    # @return [String] the threads that run fibers, their fibers as a tree, a line each
    def text
      ::Thread.list.filter_map { |thread| of_thread(thread, Polyphony.scheduler_of(thread)) }.join("\n")
    end

    # @return [String, nil] nil for a thread that runs no fibers
    def of_thread(thread, scheduler)
      return unless scheduler

      fibers = scheduler.fibers
      shown = fibers.to_h { |entry| [entry.first, entry] }.compare_by_identity
      children = fibers.map(&:first).group_by { |fiber| parent(fiber, shown) }.compare_by_identity
      header = "#{thread == ::Thread.main ? "main thread" : thread.inspect}, #{scheduler.describe}: #{fibers.size} fibers\n"
      header + tree(children[nil], children, shown, thread, 1)
    end

    # The line of the user's code that a thread is at.
    # @return [String, nil]
    def line(backtrace) = backtrace && Polyphony.without_home(backtrace).find { |line| !line.start_with?("<internal:") }

    def tree(fibers, children, shown, thread, depth)
      fibers.to_a.map do |fiber|
        "#{"  " * depth}#{describe(fiber, shown[fiber], thread)}\n" + tree(children[fiber], children, shown, thread, depth + 1)
      end.join
    end

    def describe(fiber, entry, thread)
      _, doing, descriptor, seconds = entry
      running = doing == "running"
      what = descriptor ? "#{doing} on descriptor #{descriptor}" : doing
      what += format(" for %.1f s", seconds) unless running || doing == "ready"
      at = line(fiber.backtrace || thread.backtrace)
      "#{title(fiber)}: #{what}#{", at #{at}" if at}"
    end

    def title(fiber)
      tag = fiber.tag if fiber.respond_to?(:tag)
      tag ? "#{tag} (fiber #{fiber.object_id})" : "fiber #{fiber.object_id}"
    end

    # A fiber that is not among those shown is nobody's parent.
    def parent(fiber, shown)
      above = fiber.parent if fiber.respond_to?(:parent)
      above if above && shown.key?(above)
    end
  end

  # Writes what every fiber of the process is doing: which thread and which fiber it belongs to, what it waits for,
  # since when, and where. From any thread, at any time.
  #
  # SIGQUIT does it, too, where the program has no handler for it and runs fibers.
  #
  # @param out [#write]
  # @return [void]
  # @example
  #   main thread, io_uring: 2 fibers
  #     main (fiber 8): in a line for 3.2 s, at server.rb:12:in `<main>'
  #       worker (fiber 16): ReadPooled on descriptor 7 for 0.4 s, at server.rb:8:in `serve'
  def self.dump(out = $stderr)
    out.write(Report.text)
    nil
  end

  # No fiber of the process can ever go on: nothing is in flight, no timer is armed, every other thread waits for
  # another one, and no signal handler is there that could wake one. Raised in the main fiber of the main thread,
  # which waits for something that cannot come; the message says who waits for what, and where.
  #
  # Not raised where a main fiber sleeps, or is in `suspend`, which returns then.
  class Deadlock < ::Exception
    # Methods in which a thread that runs no fibers waits for nothing but another thread.
    WAITS = %w[join value pop shift deq].freeze
    private_constant :WAITS

    class << self
      # Looks whether it is one, and raises.
      #
      # @return [Boolean] whether a thread that runs no fibers may still be the last to get stuck: none that runs some
      #   would look again
      # @api private
      def check
        others = ::Thread.list - [::Thread.current] - Elsewhere.idle.map(&:thread) - [Overdue.thread]
        return false if handled?

        since = others.to_h { |thread| [thread, stuck_since(thread)] }.compare_by_identity
        free = others.reject { |thread| since[thread] }
        return free.any? { |thread| Polyphony.scheduler_of(thread).nil? } unless free.empty?
        return true if went_on?(since)

        said = "no fiber can go on: nothing is in flight, and nothing is left that could wake one\n#{Report.text}#{without_fibers(others)}"
        main = ::Thread.main
        main.equal?(::Thread.current) ? raise(self, said) : main.raise(self, said)
      end

      private

      # A program may have set its handlers before the gem was loaded, and of those that it sets where the scheduler is
      # alone nobody tells.
      def handled?
        own = defined?(Signals) ? Signals.own : 0
        (defined?(Signals) && Signals.handled?) || Polyphony.trap_blocks > own
      end

      def without_fibers(threads)
        threads.filter_map { |thread| "\n#{thread.inspect}: waiting, at #{Report.line(thread.backtrace)}\n" unless Polyphony.scheduler_of(thread) }.join
      end

      # Threads take turns while they are looked at, one after another: one may have woken another that had been looked
      # at, this one too. So who was stuck must be so still, and without a turn since: then there was a moment, when
      # all had been looked at once and none a second time, in which all of them were.
      def went_on?(since)
        Polyphony.scheduler&.called? || since.any? { |thread, turn| stuck_since(thread) != turn }
      end

      # What has been raised in a thread it has not heard of yet. Of a thread that waits for a lock, Ruby does not
      # tell whether that has been let go meanwhile.
      #
      # @return [Integer, nil] since which of its turns; 0 for a thread that has none
      def stuck_since(thread)
        return if thread.pending_interrupt?

        scheduler = Polyphony.scheduler_of(thread)
        return scheduler.stuck_since if scheduler

        0 if thread.inspect.include?(" sleep_forever") && WAITS.include?(thread.backtrace_locations(0, 1)&.first&.base_label)
      end
    end
  end
end
