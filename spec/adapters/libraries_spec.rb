# frozen_string_literal: true

require_relative "../support/servers"

# Libraries that talk to servers, with real ones: the fibers of one thread wait for them at the same time.
RSpec.describe "The adapter for" do
  installed = ->(*libraries) { system(RbConfig.ruby, *libraries.map { |library| "-r#{library}" }, "-e", "0", err: File::NULL) }

  def expect_from(script, argument, result)
    out, err, status = Child.ruby(Servers::ASKING + script, argument, env: { "RUBYOPT" => "-W0" })
    expect([out, (err unless status.success?)]).to eq [result, nil]
  end

  it "Redis lets eight fibers wait for the server at once",
     skip: ("the redis library is not installed" unless installed["redis"]) || ("redis-server is not installed" unless Servers::REDIS) do
    Servers.redis do |socket|
      expect_from(<<~'RUBY', socket, "eight wait\n[0, 10, 20, 30, 40, 50, 60, 70]\n")
        require "polyphony/adapters/redis"
        connect = -> { insist { defined?(Redis) ? Redis.new(path: ARGV[0]).tap(&:ping) : RedisClient.new(path: ARGV[0]).tap { |it| it.call("PING") } } }
        call = ->(redis, *words) { redis.call(*(defined?(Redis) ? [words] : words)) }
        waiting = 8.times.map { |i| spin { Integer(call[connect[], "BLPOP", "list#{i}", "0"].last) } }
        redis = connect[]
        ask_until { call[redis, "INFO", "clients"].to_s.match?(/blocked_clients\D+8\b/) }
        puts "eight wait"
        8.times { |i| call[redis, "RPUSH", "list#{i}", (i * 10).to_s] }
        p Fiber.await(*waiting)
      RUBY
    end
  end

  context "with a server of PostgreSQL" do
    absent = ("PostgreSQL's server is not installed" unless Servers::POSTGRES)

    it "Postgres lets eight fibers wait for the server at once, and a main fiber wait beside them; transactions nest",
       skip: absent || ("the pg library is not installed" unless installed["pg"]) do
      Servers.postgres do |directory|
        expect_from(<<~'RUBY', directory, "eight wait\n[0, 10, 20, 30, 40, 50, 60, 70]\n[\"in both\", 1]\nticked\n[\"note\", \"PG::UndefinedTable\"]\n")
          require "polyphony/adapters/postgres"
          connect = -> { insist { PG.connect(host: ARGV[0], user: "postgres") } }
          main = connect[]
          main.exec("select pg_advisory_lock(1)")
          waiting = 8.times.map { |i| spin { connect[].exec_params("select $1::int * 10 as it, pg_advisory_lock_shared(1)", [i])[0]["it"].to_i } }
          ask_until { main.exec("select count(*) from pg_stat_activity where wait_event = 'advisory'")[0]["count"] == "8" }
          puts "eight wait"
          main.exec("select pg_advisory_unlock(1)")
          p Fiber.await(*waiting)

          main.exec("create table told (what text)")
          main.transaction { main.transaction { main.exec("insert into told values ('in both')") } }
          p [main.exec("select * from told")[0]["what"], main.exec("select * from told").ntuples]

          ticks = 0
          ticker = spin { loop { snooze; ticks += 1 } }
          main.exec("select pg_sleep(0.05)")
          puts "ticked" if ticks > 1
          ticker.stop
          main.exec("listen news")
          spin { connect[].exec("notify news, 'note'") }
          heard = nil
          main.wait_for_notify { |_, _, payload| heard = payload }
          begin
            main.exec("select * from nothing")
          rescue PG::Error => e
            p [heard, e.class.name]
          end
        RUBY
      end
    end

    it "Sequel lends each fiber a connection of its own",
       skip: absent || ("Sequel or pg is not installed" unless installed["sequel", "pg"]) do
      Servers.postgres do |directory|
        expect_from(<<~'RUBY', directory, "three wait\n[0, 10, 20]\n")
          require "polyphony/adapters/sequel"
          require "polyphony/adapters/postgres"
          DB = insist { Sequel.connect(adapter: "postgres", host: ARGV[0], user: "postgres", database: "postgres", max_connections: 4) }
          DB.synchronize do
            DB.get(Sequel.lit("pg_advisory_lock(1)"))
            waiting = 3.times.map { |i| spin { DB["select #{i} * 10 as it, pg_advisory_lock_shared(1)"].first[:it] } }
            ask_until { DB["select count(*) as it from pg_stat_activity where wait_event = 'advisory'"].first[:it] == 3 }
            puts "three wait"
            DB.get(Sequel.lit("pg_advisory_unlock(1)"))
            p Fiber.await(*waiting)
          end
        RUBY
      end
    end
  end

  it "Mysql2 lets eight fibers wait for the server at once, and a main fiber wait and connect beside them",
     skip: ("the mysql2 library is not installed" unless installed["mysql2"]) || ("MariaDB's server is not installed" unless Servers::MARIADB) do
    Servers.mariadb do |socket|
      expect_from(<<~'RUBY', socket, "eight wait\n[0, 10, 20, 30, 40, 50, 60, 70]\nticked\nconnected beside\n[:ended, \"MySQL client is not connected\"]\n")
        require "polyphony/adapters/mysql2"
        require "socket"
        connect = ->(**options) { insist { Mysql2::Client.new(socket: ARGV[0], username: "root", **options) } }
        ask = ->(client, text) { client.query(text, as: :array).to_a[0][0] }
        main = connect[]
        ask[main, "select get_lock('one', 0)"]
        waiting = 8.times.map { |i| spin { ask[connect[], "select #{i} * 10, get_lock('one', 30), release_lock('one')"] } }
        ask_until { ask[main, "select count(*) from information_schema.processlist where state = 'User lock'"] == 8 }
        puts "eight wait"
        ask[main, "select release_lock('one')"]
        p Fiber.await(*waiting)

        ticks = 0
        ticker = spin { loop { snooze; ticks += 1 } }
        ask[main, "select sleep(0.05)"]
        puts "ticked" if ticks > 1
        ticker.stop

        # One that accepts and says nothing, until a fiber ends it.
        deaf = TCPServer.new("127.0.0.1", 0)
        spin { deaf.accept.close }
        begin
          Mysql2::Client.new(host: "127.0.0.1", port: deaf.addr[1], connect_timeout: 20)
        rescue Mysql2::Error
          puts "connected beside"
        end

        ended = move_on_after(0.05, with_value: :ended) { main.query("select sleep(30)") }
        begin
          main.query("select 1")
        rescue Mysql2::Error => e
          p [ended, e.message]
        end
      RUBY
    end
  end

  it "Mysql2's prepared statements let others run, and one that is cancelled closes its connection and no other",
     skip: ("the mysql2 library is not installed" unless installed["mysql2"]) || ("MariaDB's server is not installed" unless Servers::MARIADB) do
    Servers.mariadb do |socket|
      expect_from(<<~'RUBY', socket, "six wait\n[0, 10, 20, 30, 40, 50]\n[:ended, 1, \"MySQL client is not connected\", true]\n[true, true, 0]\n")
        require "polyphony/adapters/mysql2"
        connect = -> { insist { Mysql2::Client.new(socket: ARGV[0], username: "root") } }
        main = connect[]
        ask = ->(text, client = main, *values) { client.prepare(text).execute(*values, as: :array).to_a[0][0] }
        queued = -> { ask["select count(*) from information_schema.processlist where state = 'User lock'"] }
        lock = "select ? * 10, get_lock('one', 30), release_lock('one')"
        ask["select get_lock('one', 0)"]
        waiting = 6.times.map { |i| spin { ask[lock, connect[], i].to_i } }
        ask_until { queued[] == 6 }
        puts "six wait"
        ask["select release_lock('one')"]
        p Fiber.await(*waiting)

        ask["select get_lock('one', 0)"]
        client = connect[]
        statement = client.prepare(lock)
        stuck = spin { statement.execute(1); :answered }
        ask_until { queued[] == 1 }
        stuck.interrupt(:ended)
        ended = stuck.await
        refused = begin client.query("select 1"); rescue Mysql2::Error => e then e.message end
        p [ended, ask["select 1"], refused, (statement.execute(2) && false rescue true)]

        ticks = 0
        ticker = spin { loop { snooze; ticks += 1 } }
        main.prepare("select sleep(0.05)").execute
        told = [ticks > 2, main.ping, (main.prepare("select nothing of this") rescue 0)]
        p told
        ticker.stop
      RUBY
    end
  end

  it "traces tells of what the scheduler does" do
    out = Child.ruby!('require "polyphony/adapters/trace"; told = []; Polyphony::Trace.start_event_firehose { |event| told << event[:event] }; spin { }.await; p told.include?(:spin)')
    expect(out).to eq "true\n"
  end

  { "fs" => "File.read('/dev/null')", "process" => "`printf ''`", "open3" => "Open3.capture2('true').first" }.each do |name, call|
    it "#{name} is there, and what it is for waits as it does without" do
      expect(Child.ruby!("require 'polyphony/adapters/#{name}'; p spin { #{call} }.await")).to eq "\"\"\n"
    end
  end
end
