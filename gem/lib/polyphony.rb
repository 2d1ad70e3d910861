# frozen_string_literal: true

# The drop-in: Ruby's own classes wait without holding the thread, wherever a fiber scheduler runs.
#
# A thread gets its scheduler at its first call that only Polyphony has (`spin`, `snooze`, `receive`,
# `move_on_after` …). Until then every override is the original, so that code which never mentions
# Polyphony behaves as it does without it.
require_relative "polyphony/bare"
require_relative "polyphony/extensions"

Polyphony::Extensions.install
