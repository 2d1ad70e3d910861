# frozen_string_literal: true

# IRB with fibers that run behind its prompt, which waits as every IO does: `irb -r polyphony/adapters/irb`, or
# from a program before `binding.irb`. The drop-in alone does as much; what is added here is IRB itself, and
# Readline for `irb --nomultiline`.
#
# Ctrl-C ends the line, or what is evaluated, at once; fibers in the background go on. One that never waits holds
# the thread, and the prompt with it.
require "irb"
require_relative "../../polyphony"
begin
  require_relative "readline"
rescue LoadError
  nil # Rubies since 3.3 bring only Reline, and that needs nothing
end

Polyphony::Extensions::Late.install
