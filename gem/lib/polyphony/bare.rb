# frozen_string_literal: true

# The scheduler and its own classes. No class of Ruby's is changed.
require "fiber"
require_relative "../polyphony_ruby"
require_relative "version"
require_relative "exceptions"
require_relative "scheduler"
require_relative "timeouts"
require_relative "fiber_scheduler"
require_relative "report"
