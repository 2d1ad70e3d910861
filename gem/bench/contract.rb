# frozen_string_literal: true

# The rows of bin/bench that ask whether this gem is as fast as the original: ours and bare Ruby in turns, each in a
# process of its own, a line a row for report.rb.
#
# The original is not measured here. Beside its own bare Ruby it was once, and original.tsv keeps the ratios: a goal
# is that ratio, or, where the row says so, two thirds of it. A row without such a figure has none, and no goal.
# Where a switch says little of a row's work (zlib's, the copies of a pipe, the time that a machine with nothing to do
# takes to wake) it has a second row beside what stock Ruby takes for the same: zlib alone, or threads that block.
#
# What computes is measured in CPU time; what waits for a clock, a thread or a client in wall time, the bare row too.
#
# It takes about five minutes with three pairs a row.
#
# usage: contract.rb [PATTERN] [PAIRS]
require_relative "pairs"

# `bare` is what the row is a multiple of. `gain` is by how much the original is to be surpassed.
ContractRow = Struct.new(:name, :key, :unit, :bare, :clock, :gain, :goal, keyword_init: true) do
  def self.of(name, key, unit: "ns", bare: "transfer", clock: "cpu", gain: 1, goal: nil)
    new(name: name, key: key, unit: unit, bare: bare, clock: clock, gain: gain, goal: goal)
  end

  # How many of what is bare the original took. Beside stock Ruby at the same work it was not measured.
  def original = SAME_WORK.include?(bare) ? nil : ORIGINAL[key]

  def target = goal || (original && (original / gain).round(2))

  def reference
    original ? "#{BARE.fetch(bare)}; the original #{original.round(2)} of them" : BARE.fetch(bare)
  end
end

ORIGINAL = File.readlines("#{__dir__}/original.tsv", chomp: true).grep_v(/^#/).to_h do |line|
  key, ratio = line.split("\t")
  [key, Float(ratio)]
end.freeze

BARE = {
  "transfer" => "bare Fiber#transfer", "fiber" => "Fiber.new and resume", "memory" => "a bare fiber",
  "threads" => "bare threads and a Queue", "zlib" => "Zlib.gzip", "pipe" => "two bare threads",
  "echo" => "a bare thread"
}.freeze

# What does the work of a row in stock Ruby.
SAME_WORK = %w[zlib pipe echo].freeze

# Bytes of a fiber, the time of zlib, and a request that a thread waits for: within 10 % of what is bare.
WITHIN = 1.1

CONTRACT = [
  *[1, 2, 10, 1_000].map { |fibers| ContractRow.of("snooze, #{fibers} fiber#{"s" if fibers > 1}", "snooze_among #{fibers}") },
  ContractRow.of("snooze, 10000 fibers", "snooze_among 10000", gain: 1.5),
  ContractRow.of("spin and await", "spin_await", bare: "fiber"),
  ContractRow.of("spin in batches of 10,000", "spin_batch 10000", bare: "fiber", gain: 1.5),
  ContractRow.of("memory of a suspended fiber", "memory", unit: "bytes", bare: "memory", goal: WITHIN),
  ContractRow.of("memory of a sleeping fiber", "memory_asleep", unit: "bytes", bare: "memory", goal: WITHIN),
  ContractRow.of("message ping-pong", "message_ping_pong"),
  ContractRow.of("messages one way", "message_one_way"),
  ContractRow.of("queue, 4 producers, 4 consumers", "queue_4x4"),
  ContractRow.of("mutex among 10 fibers", "mutex"),
  ContractRow.of("messages between threads", "thread_messages", bare: "threads", clock: "wall"),
  ContractRow.of("jobs of a thread pool", "thread_pool", bare: "threads", clock: "wall"),
  ContractRow.of("pipe ping-pong", "pipe_ping_pong"),
  ContractRow.of("pipe throughput, a kilobyte", "pipe_throughput"),
  ContractRow.of("pipe throughput, a kilobyte, and threads'", "pipe_throughput", bare: "pipe", goal: 1),
  ContractRow.of("50 pairs over pipes", "pipe_pairs 50"),
  ContractRow.of("a file of 4 KiB read", "file_read"),
  ContractRow.of("a file spliced, a kilobyte", "splice_file"),
  ContractRow.of("gzip, a kilobyte", "gzip"),
  ContractRow.of("gzip, a kilobyte, and zlib's own", "gzip", bare: "zlib", goal: WITHIN),
  ContractRow.of("shortest sleeps in sequence", "sleep_sequence", clock: "wall"),
  ContractRow.of("20,000 sleepers", "sleep_together"),
  ContractRow.of("1,000 fibers that sleep 1 ms", "sleep_churn", clock: "wall"),
  ContractRow.of("a timeout armed", "timeout_armed"),
  ContractRow.of("a timeout around a snooze", "timeout_around_snooze"),
  ContractRow.of("a timeout fired", "timeout_fired", clock: "wall", gain: 1.5),
  ContractRow.of("a sleeper cancelled", "cancelled_sleepers", gain: 1.5),
  ContractRow.of("echo, 1 connection", "echo 1", clock: "wall"),
  ContractRow.of("echo, 1 connection, and a thread's", "echo 1", bare: "echo", clock: "wall", goal: WITHIN),
  *[50, 500].map { |connections| ContractRow.of("echo, #{connections} connections", "echo #{connections}") },
  ContractRow.of("accept, a byte, close", "accept 8", gain: 1.5),
  ContractRow.of("HTTP, 50 connections", "http 50")
].freeze

def measured(who, row)
  script = who == :ours ? ["ours", row.clock, *row.key.split] : ["bare", row.clock, row.bare]
  command = ["timeout", "60", RbConfig.ruby, "-W0", "-I#{__dir__}/../lib", "#{__dir__}/contract_row.rb", *script]
  Float(IO.popen(command, &:read))
rescue ArgumentError
  abort "#{row.name}, #{who}: the process printed no figure"
end

pattern = Regexp.new(ARGV.fetch(0, "."))
CONTRACT.select { |row| pattern.match?(row.name) }.each do |row|
  pairs = Pairs.take(Integer(ARGV.fetch(1, 3))) { |who| measured(who, row) }
  puts pairs.row(row.name, row.unit, row.reference, row.target)
  $stdout.flush
end
