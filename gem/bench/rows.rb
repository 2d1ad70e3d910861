# frozen_string_literal: true

# Runs the Ruby rows of bin/bench: ours and the reference in turns, each in a process of its own, and prints a
# line a row for gem/bench/report.rb. The figure is the median of the pairs' ratios; where that is near 1 more
# pairs are taken, because there the noise is as large as the difference.
#
# A row may say how many pairs it has, and that a neighbour on its core would spoil it.
#
# usage: rows.rb [PATTERN]
require_relative "pairs"

Row = Struct.new(:name, :script, :unit, :reference, :goal, :count, :alone)
ROWS = [
  *[2, 100, 1_000, 10_000].map do |count|
    Row.new("snooze among #{count} fibers", ["snooze.rb", count], "ns", "bare Fiber#transfer", 2.2)
  end,
  Row.new("spin and await", ["spin_await.rb"], "ns", "Fiber.new and resume", nil),
  Row.new("a byte over a pipe", ["pipe.rb"], "ns", "two bare fibers, a ring by hand", 1.3),
  # A bare fiber's 13.2 KB and 1 KB more.
  Row.new("memory of a parked read", ["memory.rb"], "bytes", "a bare fiber", 1.08),
  Row.new("p99 lateness of 30,000 sleepers", ["sleepers.rb"], "us", "an idle loop's and a millisecond", 1, 5, true)
].freeze

PINNED = system("command -v taskset >/dev/null") ? %w[taskset -c 0] : []
# Before all other processes of the core, if that is allowed.
ALONE = system("chrt -f 1 true", err: File::NULL) ? %w[chrt -f 1] : []

def figure(row, who)
  script, *arguments = row.script
  command = [*PINNED, *(ALONE if row.alone), "timeout", "60", RbConfig.ruby, "-W0", "-I#{__dir__}/../lib", "#{__dir__}/#{script}", who, *arguments]
  Float(IO.popen(command.map(&:to_s), &:read))
rescue ArgumentError
  abort "#{row.name}, #{who}: the process printed no figure"
end

def pairs(row, count) = Pairs.take(count) { |who| figure(row, who) }

pattern = Regexp.new(ARGV.fetch(0, "."))
ROWS.select { |row| pattern.match?(row.name) }.each do |row|
  pairs = pairs(row, row.count || 5)
  pairs += pairs(row, 16) if pairs.ratio < 1.2 && !row.count
  puts pairs.row(row.name, row.unit, row.reference, row.goal)
  $stdout.flush
end
