# frozen_string_literal: true

# Resident memory of a fiber parked in a read, 9,000 of them, each on a descriptor of its own; the reference
# is as many bare fibers beside as many descriptors.
#
# usage: memory.rb ours|reference
require_relative "measure"

count = 9_000
Process.setrlimit(:NOFILE, Process.getrlimit(:NOFILE).last)
reader, = pipe = IO.pipe
readers = Array.new(count) { reader.dup }

case ARGV[0]
when "ours"
  require "polyphony"
  spin { snooze }.await
  Measure.growth_per_unit(count) do
    readers.each { |io| spin { io.readpartial(100) } }
    2.times { snooze }
    sleep 0.01 # the kernel has every read
  end
when "reference"
  fibers = []
  Measure.growth_per_unit(count) { readers.each { fibers << Fiber.new { Fiber.yield }.tap(&:resume) } }
end
pipe.each(&:close)
