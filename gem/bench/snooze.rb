# frozen_string_literal: true

# A lap of N fibers that do nothing but let the next one run, a million switches in all.
#
# The first fiber of the ring holds the clock: what is measured starts when every fiber has run once and ends
# before the first one returns, so neither the birth nor the end of a fiber is in it.
#
# usage: snooze.rb ours|reference FIBERS
require_relative "measure"

who, fibers = ARGV[0], Integer(ARGV[1])
laps = 1_000_000 / fibers

case who
when "ours"
  require "polyphony"
  spin do
    snooze
    Measure.per_unit(laps * fibers) { laps.times { snooze } }
  end
  (fibers - 1).times { spin { loop { snooze } } }
  suspend
when "reference"
  ring = []
  ring << Fiber.new do
    following = ring[1 % fibers]
    following.transfer
    Measure.per_unit(laps * fibers) { laps.times { following.transfer } }
  end
  (1...fibers).each do |i|
    ring << Fiber.new do
      following = ring[(i + 1) % fibers]
      loop { following.transfer }
    end
  end
  ring.first.transfer
end
