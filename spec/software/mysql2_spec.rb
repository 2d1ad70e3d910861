# frozen_string_literal: true

require_relative "../support/software"

RSpec.describe "mysql2" do
  software "mysql2", requires: %w[mysql2 timeout socket], server: :mariadb

  mysql = <<~'RUBY'
    def connect(**options) = insist { Mysql2::Client.new(socket: ARGV[0], username: "root", **options) }
    MAIN = connect
    def ask(text, client = MAIN) = client.query(text, as: :array).to_a
    # How many wait for the lock that MAIN has.
    def queued = ask("select count(*) from information_schema.processlist where state = 'User lock'")[0][0]
    def take = ask("select get_lock('one', 0)")
    def let_go = ask("select release_lock('one')")
    # Waits for MAIN's lock, and gives it back.
    def wait_for_it(client, value = "1") = ask("select #{value}, get_lock('one', 30), release_lock('one')", client)[0][0]
  RUBY

  both_ways "eight queries wait at the server at once", (0...8).map { |number| number * 10 }, mysql + <<~'RUBY'
    take
    waiting = 8.times.map { |number| go { wait_for_it(connect, "#{number} * 10") } }
    ask_until { queued == 8 }
    let_go
    waiting.map(&:value)
  RUBY

  both_ways "other fibers run while a query waits; rows, errors and transactions of several stay apart", [true, [true], [[2], [4]]], mysql + <<~'RUBY'
    ran = others_ran { go { ask("select sleep(0.02)", connect) }.value }
    ask("create or replace database things")
    ask("create table things.kept (owner int) engine = InnoDB")
    whole = together(4) do |number|
      client = connect
      failed = error_of { client.query("select * from things.nothing") }
      rows = ask("with recursive n as (select 1 as it union all select it + 1 from n where it < 900) select it * #{number}, repeat('x', 100) from n", client)
      client.query("begin")
      client.query("insert into things.kept values (#{number + 1})")
      client.query(number.odd? ? "commit" : "rollback")
      [failed.class, rows.size, rows.last.first] == [Mysql2::Error, 900, 900 * number]
    end
    [ran, whole.uniq, ask("select owner from things.kept order by owner")]
  RUBY

  both_ways "a query that is cancelled leaves the others, and its own connection says that it is closed", [:cancelled, 7, "MySQL client is not connected", [[1]]], mysql + <<~'RUBY'
    take
    client = connect
    stuck = go { wait_for_it(client) }
    other = go { wait_for_it(connect, "7") }
    ask_until { queued == 2 }
    ended = stuck.cancel
    failed = error_of { client.query("select 1") }
    let_go
    [ended, other.value, failed.message, ask("select 1", connect)]
  RUBY

  both_ways "Timeout ends a query, and so does the client's own time", ["Timeout::Error", "Mysql2::Error::TimeoutError", [[2]]], mysql + <<~'RUBY'
    client = connect
    late = go { Timeout.timeout(0.05) { client.query("select sleep(30)") } }
    impatient = go { connect(read_timeout: 1).query("select sleep(30)") }
    [late.error.class.name, impatient.error.class.name, ask("select 2")]
  RUBY

  both_ways "a server that ends the connection is told by an error, and the others are served", [true, [[1]]], mysql + <<~'RUBY'
    client = connect
    waiting = go { error_of { client.query("select sleep(30)") } }
    ask_until { ask("select count(*) from information_schema.processlist where state = 'User sleep'")[0][0] == 1 }
    ask("kill #{client.thread_id}")
    [waiting.value.is_a?(Mysql2::Error), ask("select 1")]
  RUBY

  both_ways "a connection that is refused is told", "Mysql2::Error::ConnectionError", <<~'RUBY'
    free = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
    error_of { Mysql2::Client.new(host: "127.0.0.1", port: free, username: "nobody") }.class.name
  RUBY
end
