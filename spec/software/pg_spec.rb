# frozen_string_literal: true

require_relative "../support/software"

RSpec.describe "pg" do
  software "pg", requires: %w[pg timeout], server: :postgres

  pg = <<~'RUBY'
    def connect = insist { PG.connect(host: ARGV[0], user: "postgres", dbname: "postgres") }
    # How many wait for the lock that MAIN has.
    def queued = MAIN.exec("select count(*) from pg_stat_activity where wait_event = 'advisory'")[0]["count"].to_i
    MAIN = connect
    def let_go = MAIN.exec("select pg_advisory_unlock(1)")
  RUBY

  both_ways "eight queries wait at the server at once", (0...8).map { |number| number * 10 }, pg + <<~'RUBY'
    MAIN.exec("select pg_advisory_lock(1)")
    waiting = 8.times.map { |number| go { connect.exec_params("select $1::int * 10 as it, pg_advisory_lock_shared(1)", [number])[0]["it"].to_i } }
    ask_until { queued == 8 }
    let_go
    waiting.map(&:value)
  RUBY

  both_ways "connections are made at once, and other fibers run while a query waits", [true, 8], pg + <<~'RUBY'
    ran = others_ran { go { connect.exec("select pg_sleep(0.02)") }.value }
    [ran, together(8) { connect.exec("select pg_backend_pid()")[0].values.first }.uniq.size]
  RUBY

  both_ways "prepared statements, COPY both ways, large results and errors of several fibers stay apart", [true], pg + <<~'RUBY'
    MAIN.exec("set client_min_messages = error; drop table if exists numbers; create table numbers (owner int, value int)")
    together(4) do |number|
      connection = connect
      connection.prepare("own", "select $1::int * count(*) as it from generate_series(1, 100000)")
      product = connection.exec_prepared("own", [number])[0]["it"].to_i
      connection.copy_data("copy numbers from stdin") { 1000.times { |value| connection.put_copy_data("#{number}\t#{value}\n") } }
      lines = 0
      connection.copy_data("copy (select value from numbers where owner = #{number}) to stdout") { lines += 1 while connection.get_copy_data }
      failed = error_of { connection.exec("select * from nothing") }
      rows = connection.exec("select repeat('x', 100) from generate_series(1, 20000)").ntuples
      [product, lines, failed.class, rows] == [number * 100_000, 1000, PG::UndefinedTable, 20_000]
    end.uniq
  RUBY

  both_ways "a query that is cancelled leaves the others; its connection is told to cancel and used again", [:cancelled, [1], "2", true], pg + <<~'RUBY'
    MAIN.exec("select pg_advisory_lock(1)")
    connection = connect
    stuck = go { connection.exec("select pg_advisory_lock_shared(1)") }
    other = go { connect.exec("select 1 as it, pg_advisory_lock_shared(1)")[0]["it"].to_i }
    ask_until { queued == 2 }
    ended = stuck.cancel
    connection.cancel
    error_of { connection.get_last_result }
    ask_until { queued == 1 }
    let_go
    [ended, [other.value], connection.exec("select 2 as it")[0]["it"], connection.transaction_status == PG::PQTRANS_IDLE]
  RUBY

  both_ways "a transaction whose query is cancelled is rolled back", ["Timeout::Error", "0"], pg + <<~'RUBY'
    MAIN.exec("set client_min_messages = error; drop table if exists kept; create table kept (value int)")
    connection = connect
    late = go do
      Timeout.timeout(0.05) do
        connection.transaction do
          connection.exec("insert into kept values (1)")
          connection.exec("select pg_sleep(30)")
        end
      end
    end
    [late.error.class.name, connect.exec("select count(*) from kept")[0]["count"]]
  RUBY

  both_ways "a notification ends the wait of who listens, and a time without one", ["note", nil], pg + <<~'RUBY'
    listener = connect
    listener.exec("listen news")
    hearing = go { heard = nil; listener.wait_for_notify { |_, _, payload| heard = payload }; heard }
    MAIN.exec("notify news, 'note'")
    [hearing.value, listener.wait_for_notify(0.02)]
  RUBY

  both_ways "rows one by one, while others run", [1000, true], pg + <<~'RUBY'
    rows = 0
    connection = connect
    ran = others_ran do
      connection.send_query("select pg_sleep(0.02), * from generate_series(1, 1) union all select null, * from generate_series(2, 1000)")
      connection.set_single_row_mode
      connection.get_result.stream_each { rows += 1 }
      connection.get_result
      go { sleep 0.01 }.value
    end
    [rows, ran]
  RUBY

  both_ways "a server that ends the connection is told by an error, and the others are served", [true, "1"], pg + <<~'RUBY'
    connection = connect
    waiting = go { error_of { connection.exec("select pg_sleep(30)") } }
    pid = connection.backend_pid
    ask_until { MAIN.exec("select count(*) from pg_stat_activity where pid = #{pid} and wait_event = 'PgSleep'")[0]["count"] == "1" }
    MAIN.exec("select pg_terminate_backend(#{pid})")
    [waiting.value.is_a?(PG::Error), MAIN.exec("select 1 as it")[0]["it"]]
  RUBY

  both_ways "a connection that is cancelled while it is made leaves the others", [:cancelled, "1"], pg + <<~'RUBY'
    require "socket"
    require "tmpdir"
    Dir.mktmpdir do |directory|
      # A server that says nothing.
      silent = UNIXServer.new("#{directory}/.s.PGSQL.5432")
      stuck = go { PG.connect(host: directory, user: "postgres", dbname: "postgres") }
      peer = silent.accept
      other = go { connect.exec("select 1 as it")[0]["it"] }
      peer.readpartial(1)
      ended = stuck.cancel
      [ended, other.value]
    end
  RUBY

  both_ways "a COPY that is cancelled in the middle copies nothing, and its connection goes on", [:cancelled, "0", "1000"], pg + <<~'RUBY'
    MAIN.exec("set client_min_messages = error; drop table if exists copied; create table copied (value int)")
    connection = connect
    begun = false
    copying = go { connection.copy_data("copy copied from stdin") { 10.times { |value| connection.put_copy_data("#{value}\n") }; begun = true; sleep } }
    ask_until { begun }
    ended = copying.cancel
    none = connection.exec("select count(*) from copied")[0]["count"]
    connection.copy_data("copy copied from stdin") { 1000.times { |value| connection.put_copy_data("#{value}\n") } }
    [ended, none, connection.exec("select count(*) from copied")[0]["count"]]
  RUBY
end
