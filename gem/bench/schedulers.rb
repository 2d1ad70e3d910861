# frozen_string_literal: true

# The rows of bin/bench that ask what public benchmarks of fiber schedulers ask: the same bodies in threads, with
# Async, with our scheduler alone and with the drop-in, each in a process of its own, in turns. It prints lines for
# report.rb; `measured` says with what. A peer that is not there has a row that says so.
#
# It takes about five minutes with five rounds.
#
# usage: schedulers.rb [PATTERN] [ROUNDS]
require_relative "pairs"
require_relative "../../spec/support/servers"

# How a cell is started: what scheduler_row.rb is told, and its environment.
Way = Struct.new(:name, :word, :environment) do
  def installed? = word != "async" || SELECTORS.include?(environment["IO_EVENT_SELECTOR"])
end

# What Async can wait with here, if it is here.
SELECTORS = IO.popen([RbConfig.ruby, "-W0", "-e", 'require "async"; puts IO::Event::Selector.constants'], err: File::NULL, &:read).split.freeze

ASYNC = Way.new("Async, epoll", "async", { "IO_EVENT_SELECTOR" => "EPoll" })
RING = Way.new("Async, io_uring", "async", { "IO_EVENT_SELECTOR" => "URing" })
THREADS = Way.new("threads", "threads", {})
ALONE = Way.new("scheduler alone", "alone", {})
DROP_IN = Way.new("drop-in", "drop-in", {})
OURS = [DROP_IN, ALONE].freeze
PEERS = [ASYNC, RING, THREADS].freeze

# The goals are of the ratio to Async on epoll, or with a unit of our figure; the scheduler alone has its own.
Scenario = Struct.new(:name, :key, :unit, :goals, :before, keyword_init: true) do
  def goal(way, peer)
    goal = goals[way]
    goal.is_a?(String) || peer == ASYNC ? goal : nil
  end
end

# Before all other processes of the core, if that is allowed: who is late because another had the core tells nothing.
FIRST = system("chrt", "-f", "1", "true", err: File::NULL) ? %w[chrt -f 1] : []

def scenario(name, key, goals = {}, unit: "ms", before: [])
  Scenario.new(name: name, key: key, unit: unit, goals: goals, before: before)
end

def both(goal) = { DROP_IN => goal, ALONE => goal }

# Of CPU, what Async takes: a peer's scheduler takes 0.80 for pipes and its low-level API 0.75, of which we want
# five sixths; 0.89 is that peer's best for socketpairs. 1.65 times the requests are 0.61 of the CPU.
SCENARIOS = [
  scenario("pipe pairs, 50 x 2, 1 KB", "pipes", both(0.62)),
  scenario("socketpairs, 50 x 2, 16 KB", "socketpairs", both(0.89)),
  scenario("mutex, work under it", "mutex_with_work", both(1)),
  scenario("mutex, writes under it", "mutex_with_writes", both(1)),
  scenario("queues, 2 producers, 2 consumers", "queues", both(1)),
  scenario("queues with room for 4", "narrow_queues", both(1)),
  scenario("PostgreSQL, 40 connections", "postgres"),
  scenario("cascading timeouts", "timeouts"),
  scenario("HTTP keep-alive, 64 connections", "http", { DROP_IN => 0.61 }, unit: "us"),
  scenario("TCP echo, 64 connections", "echo", { DROP_IN => 0.61 }, unit: "us"),
  scenario("connections, a byte each", "churn", unit: "us"),
  scenario("system calls a request, 64 connections", "http_calls", { DROP_IN => "0.2 calls" }, unit: "calls"),
  scenario("p99 lateness beside 1,000 that spin", "lateness", both("2000 us"), unit: "us", before: FIRST)
].freeze

# What a cell says; nil where it says no figure.
def figure(scenario, way)
  command = [*scenario.before, "timeout", "60", RbConfig.ruby, "-W0", "-I#{__dir__}/../lib", "#{__dir__}/scheduler_row.rb", way.word, scenario.key]
  Float(IO.popen(way.environment, command, err: File::NULL, &:read), exception: false)
end

# All ways in turns, another one first each time.
def rounds(scenario, ways, count)
  Array.new(count) { |round| ways.rotate(round).to_h { |way| [way, figure(scenario, way)] } }
end

def absent(scenario, way, why) = ["row", "#{scenario.name}: #{way.name}", scenario.unit, "", why, "", "", "", ""].join("\t")

def row(scenario, rounds, way, peer)
  pairs = rounds.filter_map do |round|
    ours, reference = round.values_at(way, peer)
    { ours: ours, reference: reference } if ours && reference
  end
  return absent(scenario, way, "no figure beside #{peer.name}") if pairs.size < rounds.size

  Pairs.new(pairs).row("#{scenario.name}: #{way.name}", scenario.unit, peer.name, scenario.goal(way, peer))
end

def measure(scenario, count)
  peers, missing = PEERS.partition(&:installed?)
  rounds = rounds(scenario, [*OURS, *peers], count)
  OURS.each { |way| peers.each { |peer| puts row(scenario, rounds, way, peer) } }
  missing.each { |peer| puts absent(scenario, peer, "not installed") }
end

def with_what_it_needs(scenario)
  return yield unless scenario.key == "postgres"
  return puts absent(scenario, Way.new("all"), "not installed") unless Servers.installed?(:postgres)

  Servers.postgres do |directory|
    ENV["POSTGRES"] = directory
    # It takes a moment until it listens.
    sleep 0.05 until system("psql", "-h", directory, "-U", "postgres", "-c", "select 1", %i[out err] => File::NULL)
    yield
  end
end

def versions
  gems = %w[async io-event pg].filter_map { |name| Gem.loaded_specs[name] || Gem::Specification.find_all_by_name(name).first }
  ["Ruby #{RUBY_VERSION}", *gems.map { |gem| "#{gem.name} #{gem.version}" }].join(", ")
end

$stdout.sync = true
puts "measured\t#{versions}"
pattern = Regexp.new(ARGV.fetch(0, "."))
SCENARIOS.select { |scenario| pattern.match?(scenario.name) }.each do |scenario|
  with_what_it_needs(scenario) { measure(scenario, Integer(ARGV.fetch(1, 5))) }
end
