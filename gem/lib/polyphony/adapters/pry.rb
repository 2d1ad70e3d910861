# frozen_string_literal: true

# Pry with fibers that run behind its prompt: `pry -r polyphony/adapters/pry`, or from a program before
# `binding.pry`. What Pry reads with, Readline or Reline, lets them run.
require "pry"
require_relative "../../polyphony"

# Pry takes Readline when it first asks for a line, which is too late for the scheduler that runs by then.
begin
  require_relative "readline"
rescue LoadError
  require "reline"
end

Polyphony::Extensions::Late.install
