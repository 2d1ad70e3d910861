# frozen_string_literal: true

# One byte goes to and fro between two fibers over two pipes: per crossing, a write and a read that waits. The
# reference is two bare fibers that make the same calls, each when its byte is there: the system calls
# without a scheduler.
#
# usage: pipe.rb ours|reference
require_relative "measure"

crossings = 100_000
there, back = IO.pipe, IO.pipe
cross = lambda do |from, to, count, &switch|
  buffer = +""
  count.times do
    to.write("x")
    switch&.call
    from.readpartial(16, buffer)
  end
end

case ARGV[0]
when "ours"
  require "polyphony"
  spin { cross.(there[0], back[1], crossings) }
  Measure.per_unit(2 * crossings) { cross.(back[0], there[1], crossings) }
when "reference"
  main = Fiber.current
  other = Fiber.new { cross.(there[0], back[1], crossings) { main.transfer } }
  there[1].sync = back[1].sync = true
  Measure.per_unit(2 * crossings) { cross.(back[0], there[1], crossings) { other.transfer } }
end
