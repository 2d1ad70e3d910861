# frozen_string_literal: true

require_relative "../support/software"

RSpec.describe "sequel" do
  software "sequel", requires: %w[sequel pg timeout], server: :postgres

  # Sequel's own extension, which lends a connection to a fiber and not to a thread.
  sequel = <<~'RUBY'
    Sequel.extension(:fiber_concurrency)
    def database(connections) = insist { Sequel.connect(adapter: "postgres", host: ARGV[0], user: "postgres", database: "postgres", max_connections: connections, pool_timeout: 20) }
    DB = database(4)
    MAIN = database(1)
    def queued = MAIN["select count(*) as it from pg_stat_activity where wait_event = 'advisory'"].first[:it]
    def lock = MAIN.get(Sequel.lit("pg_advisory_lock(1)"))
    def let_go = MAIN.get(Sequel.lit("pg_advisory_unlock(1)"))
  RUBY

  both_ways "four fibers have a connection each and wait at once, and four more wait for those", (0...8).map { |number| number * 10 }, sequel + <<~'RUBY'
    lock
    waiting = 8.times.map { |number| go { DB["select #{number} * 10 as it, pg_advisory_lock_shared(1)"].first[:it] } }
    ask_until { queued == 4 }
    let_go
    waiting.map(&:value)
  RUBY

  both_ways "transactions of several fibers stay apart", [4, 2], sequel + <<~'RUBY'
    MAIN.run("set client_min_messages = error; drop table if exists things; create table things (owner int)")
    inside = 0
    most = 0
    together(4) do |number|
      DB.transaction do
        most = [most, inside += 1].max
        DB[:things].insert(owner: number)
        sleep 0.001 until most == 4
        raise Sequel::Rollback if number.odd?
      end
    end
    [most, DB[:things].count]
  RUBY

  both_ways "a query that is cancelled gives its connection back or away: the pool serves as many as before", [:cancelled, 4, [1, 1, 1, 1]], sequel + <<~'RUBY'
    lock
    stuck = go { DB["select pg_advisory_lock_shared(1)"].first }
    ask_until { queued == 1 }
    ended = stuck.cancel
    let_go
    inside = 0
    most = 0
    values = together(4) do
      DB.synchronize do
        most = [most, inside += 1].max
        sleep 0.001 until most == 4
        DB["select 1 as it"].first[:it]
      end
    end
    [ended, most, values]
  RUBY

  both_ways "who waits for a connection is cancelled, and takes none with it", [:cancelled, [[1], [2]]], sequel + <<~'RUBY'
    small = database(1)
    let = Thread::Queue.new
    holding = go { small.synchronize { let.pop } }
    waiting = go { small["select 1 as it"].first }
    sleep 0
    ended = cancelled_while_a_condition_waits(waiting)
    let << nil
    holding.value
    [ended, [1, 2].map { |number| small.fetch("select #{number} as it").map(:it) }]
  RUBY

  both_ways "Timeout ends a query, and the pool goes on once the server is told", ["Timeout::Error", 3], sequel + <<~'RUBY'
    late = error_of do
      DB.synchronize do |connection|
        Timeout.timeout(0.05) { DB["select pg_sleep(30)"].first }
      ensure
        connection.cancel
      end
    end
    [late.class.name, DB["select 3 as it"].first[:it]]
  RUBY
end
