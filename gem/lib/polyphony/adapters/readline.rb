# frozen_string_literal: true

# `Readline.readline` lets other fibers run while the prompt waits. The drop-in sees to it by itself where
# Readline is loaded before a thread gets its scheduler; this is for a program that wants to be sure.
require "readline"
require_relative "../../polyphony"

Polyphony::Extensions::Late.install
