# frozen_string_literal: true

module Polyphony
  # `IO.select`, as the scheduler interface's hook and as the drop-in's override.
  #
  # @api private
  module Selecting
    module_function

    # Waits until one of several is ready. The original says which: it knows of what is buffered, and what makes
    # no sense.
    #
    # @yield [reading, writing, failing, timeout] `IO.select`, which will not wait
    # @return [Array(Array, Array, Array), nil]
    def select(reading, writing, failing, timeout, &original)
      ready = original.call(reading, writing, failing, 0)
      return ready if ready || timeout&.zero?

      Native.poll_any(polled([reading, ::IO::READABLE], [writing, ::IO::WRITABLE], [failing, ::IO::PRIORITY]), timeout)
      original.call(reading, writing, failing, 0)
    end

    def polled(*sets)
      sets.flat_map { |ios, events| (ios || []).map { |io| [io.to_io, events] } }
    end
  end
end
