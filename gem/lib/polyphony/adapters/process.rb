# frozen_string_literal: true

# Processes need no adapter: `Process.wait` and its relatives, `system` and backticks let other fibers run, and
# {Polyphony::Process.watch} ends a child with its fiber.
require_relative "../../polyphony"
