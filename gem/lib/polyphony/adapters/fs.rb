# frozen_string_literal: true

# Files need no adapter. What a path names is there at once, and Ruby's own methods take it at once; what may
# hold the thread, a FIFO or a device, {Polyphony::Extensions::IO::Files} waits for.
require_relative "../../polyphony"
