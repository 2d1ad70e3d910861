# frozen_string_literal: true

require "monitor"
require_relative "bare"

# Ruby's own locks, which the drop-in lets fibers wait for, under the names of Polyphony 1.
module Polyphony
  # @see Extensions::Mutex
  Mutex = ::Thread::Mutex
  # @see Extensions::ConditionVariable
  ConditionVariable = ::Thread::ConditionVariable
  # @see Extensions::Monitor
  Monitor = ::Monitor
end
