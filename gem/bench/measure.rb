# frozen_string_literal: true

# What a row's process uses to measure itself: CPU time, because wall time on a shared machine tells of its
# neighbours, and resident memory. It prints one number and ends without ceremony.
module Measure
  module_function

  def cpu = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID, :nanosecond)

  def rss
    GC.start
    File.read("/proc/self/status")[/^VmRSS:\s+(\d+)/, 1].to_i * 1024
  end

  # CPU nanoseconds a unit.
  def per_unit(units)
    start = cpu
    yield
    tell (cpu - start).fdiv(units)
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
