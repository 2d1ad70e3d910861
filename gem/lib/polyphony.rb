# frozen_string_literal: true

# The drop-in: Ruby's own classes wait without holding the thread, wherever a fiber scheduler runs.
#
# A thread gets its scheduler at its first call that only Polyphony has (`spin`, `snooze`, `receive`,
# `move_on_after` …). Until then every override is the original, so that code which never mentions
# Polyphony behaves as it does without it.
require_relative "polyphony/bare"
require_relative "polyphony/extensions"
require_relative "polyphony/shield"
require_relative "polyphony/locks"
require_relative "polyphony/event"
require_relative "polyphony/channel"
require_relative "polyphony/throttler"
require_relative "polyphony/resource_pool"
require_relative "polyphony/thread_pool"
require_relative "polyphony/timer"
require_relative "polyphony/process"
require_relative "polyphony/backend"
require_relative "polyphony/watchdog"

Polyphony::Extensions.install
