# frozen_string_literal: true

# What a row's process uses to measure itself: CPU time, because wall time on a shared machine tells of its
# neighbours, and resident memory. What waits, for the clock or for another thread, is measured in wall time all
# the same. It prints one number and ends without ceremony.
module Measure
  module_function

  CLOCKS = { cpu: Process::CLOCK_PROCESS_CPUTIME_ID, wall: Process::CLOCK_MONOTONIC }.freeze

  def time(clock) = Process.clock_gettime(CLOCKS.fetch(clock), :nanosecond)

  def cpu = time(:cpu)

  def rss
    GC.start
    File.read("/proc/self/status")[/^VmRSS:\s+(\d+)/, 1].to_i * 1024
  end

  # Nanoseconds a unit. Those of `floor`, which nobody could save, are not counted.
  def per_unit(units, clock: :cpu, floor: 0)
    start = time(clock)
    yield
    tell (time(clock) - start - floor).fdiv(units)
  end

  # Bytes a unit, as resident memory grows.
  def growth_per_unit(units)
    start = rss
    yield
    tell (rss - start).fdiv(units)
  end

  def tell(number)
    puts number
    $stdout.flush
    exit!(0)
  end
end
