# frozen_string_literal: true

# What the scheduler does, as it does it: {Polyphony::Trace}.
require_relative "../core/debug"
