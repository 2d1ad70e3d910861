# frozen_string_literal: true

require "monitor"
require_relative "bare"

# Ruby's own locks, which the drop-in lets fibers wait for, under the names of Polyphony 1.
module Polyphony
  Mutex = ::Thread::Mutex
  ConditionVariable = ::Thread::ConditionVariable
  Monitor = ::Monitor
end
