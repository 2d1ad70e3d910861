# frozen_string_literal: true

require_relative "../backend"

module Polyphony
  # What the scheduler does, as it does it.
  module Trace
    class << self
      # Tells of every event of the calling thread's scheduler: a Hash with `:stamp`, `:event` and, as the
      # event has them, `:fiber`, `:value`, `:caller`, `:source_fiber`.
      #
      # @param io [IO, nil] where each is written, a line an event; else the block is called
      # @yieldparam event [Hash]
      # @return [void]
      def start_event_firehose(io = nil, &block)
        raise ::ArgumentError, "a firehose needs an IO or a block" unless io || block

        block ||= ->(event) { io.write("#{event}\n") }
        Polyphony.scheduler!.trace_proc = ->(*event) { block.call(describe(*event)) }
      end

      private

      def describe(event, *details)
        described = { stamp: ::Process.clock_gettime(::Process::CLOCK_MONOTONIC), event: event }
        names = NAMES.fetch(event, [])
        described.merge(names.zip(details).to_h, source_fiber: ::Fiber.current)
      end
    end

    NAMES = {
      spin: %i[fiber caller], schedule: %i[fiber value prioritized caller], block: %i[fiber caller],
      unblock: %i[fiber value caller], enter_poll: %i[fiber], leave_poll: %i[fiber], terminate: %i[fiber value]
    }.freeze
    private_constant :NAMES

    # What every object can say where this file is loaded; private, as `puts` is.
    module Printing
      # Prints to the process's output at once. No other fiber runs meanwhile, so it changes nothing of what
      # one looks at.
      #
      # @param values [Array] one, or a String that says what the others are
      # @return [Integer] the bytes written
      # @example
      #   trace("size", queue.size) # prints: size: 3
      def trace(*values) = STOCK_WRITE.bind_call(::STDOUT, format_trace(values))

      # The line that {#trace} prints.
      #
      # @param values [Array]
      # @return [String]
      def format_trace(values)
        title, *rest = values
        return format("%p\n", values.size == 1 ? title : values) unless title.is_a?(::String) && rest.any?

        format("%s: %p\n", title, rest.size == 1 ? rest.first : rest)
      end

      STOCK_WRITE = ::IO.instance_method(:syswrite).then { |ours| ours.super_method || ours }
      private_constant :STOCK_WRITE
      private :trace, :format_trace
    end

    ::Kernel.include(Printing)
    ::Object.include(Printing) # Object took Kernel in before Kernel took this in
  end
end
