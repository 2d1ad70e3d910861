# frozen_string_literal: true

# How late, in microseconds, 99 of 100 sleepers wake among 30,000 that are alive at once; near the limit of what
# Ruby allows a process. They wake in the order of their deadlines, in which they were not made; else this fails.
# The reference is one fiber that sleeps again and again in an idle loop, and the millisecond that the others may
# be later.
#
# They keep a core busy for a third of the time, so a neighbour that wants the core as well gets it for some
# milliseconds now and then, in which dozens of sleepers fall due; the idle loop asks for so little that it always
# goes first. To show what we do and not what the neighbours do, rows.rb runs both before all others on their core,
# where it may. Linux still lets the others have a twentieth of it; what that came to is said on stderr, and some
# milliseconds of it are enough to spoil the figure.
#
# usage: sleepers.rb ours|reference
require_relative "measure"
require "polyphony"

COUNT = 30_000
APART = 50_000 # ns, from deadline to deadline
HEAD_START = 4_000_000_000 # ns, in which all of them fall asleep
ALLOWED = 1_000_000 # ns

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)

# Nanoseconds for which this process was ready to run and another had the core; 0 where Linux does not tell.
def kept_waiting
  File.read("/proc/self/schedstat").split[1].to_i
rescue SystemCallError
  0
end

def percentile99(numbers) = numbers.sort[numbers.size * 99 / 100]

# A sleeper's deadline is set some time after it looked at the clock and before the next sleeper does. So it lies
# between two times, and who woke must not be due for certain after somebody who still sleeps.
Sleeper = Struct.new(:deadline, :asked)

def ensure_order(woken, asked)
  untils = asked.sort.each_cons(2).to_h
  latest = 0
  woken.each do |sleeper|
    due = sleeper.deadline + untils.fetch(sleeper.asked) - sleeper.asked
    abort "sleepers: one woke #{latest - due} ns before its turn" if latest > due
    latest = [latest, sleeper.deadline].max
  end
end

# Makes them all, and lets every one fall asleep, in another order than that in which they are due. The last that
# wakes tells the main fiber: awaiting 30,000 that have ended takes milliseconds, which would make others late.
def sleepers(woken, late, asked)
  first = nil
  main = Fiber.current
  fibers = (0...COUNT).to_a.shuffle(random: Random.new(1)).map do |place|
    spin do
      sleeper = Sleeper.new(first + (place * APART), now)
      asked << sleeper.asked
      sleep (sleeper.deadline - sleeper.asked) / 1e9
      late << now - sleeper.deadline
      woken << sleeper
      main << :all_woke if woken.size == COUNT
    end
  end
  first = now + HEAD_START
  snooze
  asked << now
  abort "sleepers: making them took too long" if asked.last > first
  fibers
end

case ARGV[0]
when "ours"
  fibers = sleepers(woken = [], late = [], asked = [])
  GC.start # of what making them left behind: a sweep of 30,000 stacks is not what is measured
  before = kept_waiting
  receive
  $stderr.puts "sleepers: neighbours had the core for #{(kept_waiting - before) / 1_000_000} ms of #{COUNT * APART / 1_000_000}"
  fibers.each(&:await)
  abort "sleepers: #{woken.size} of #{COUNT} woke" if woken.size != COUNT
  ensure_order(woken, asked)
  Measure.tell(percentile99(late) / 1000.0)
when "reference"
  late = Array.new(5_000) do
    deadline = now + APART
    sleep APART / 1e9
    now - deadline
  end
  Measure.tell((percentile99(late) + ALLOWED) / 1000.0)
end
