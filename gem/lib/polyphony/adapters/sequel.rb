# frozen_string_literal: true

# Sequel's pool lends a connection to a fiber, and not to the thread that runs them all. It waits by Ruby's own
# locks, which let other fibers run; so does the database's library, or an adapter for that sees to it.
require "sequel"
require_relative "../../polyphony"

Sequel.extension(:fiber_concurrency)
