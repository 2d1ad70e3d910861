# frozen_string_literal: true

require_relative "../support/software"

# What is small: each group is one gem.
RSpec.describe "the gem" do
  describe "redis-client" do
    software "redis-client", requires: %w[redis-client], server: :redis

    both_ways "eight fibers wait for the server at once, and one that is cancelled leaves them", [:cancelled, (0...8).map(&:to_s)], <<~'RUBY'
      connect = -> { insist { RedisClient.new(path: ARGV[0]).tap { |it| it.call("PING") } } }
      main = connect[]
      stuck = go { connect[].blocking_call(false, "BLPOP", "nothing", "0") }
      waiting = 8.times.map { |number| go { connect[].blocking_call(false, "BLPOP", "list#{number}", "0").last } }
      ask_until { main.call("INFO", "clients").match?(/blocked_clients:9\b/) }
      ended = stuck.cancel
      8.times { |number| main.call("RPUSH", "list#{number}", number.to_s) }
      [ended, waiting.map(&:value)]
    RUBY
  end

  describe "concurrent-ruby" do
    software "concurrent-ruby", requires: %w[concurrent]

    both_ways "promises and pools run in their threads while our fibers wait for them", [[0, 10, 20, 30], true], <<~'RUBY'
      pool = Concurrent::FixedThreadPool.new(4)
      barrier = Concurrent::CyclicBarrier.new(4)
      values = nil
      ran = others_ran do
        values = together(4) { |number| Concurrent::Promises.future_on(pool, number) { |it| barrier.wait(20); sleep 0.005; it * 10 }.value! }
      end
      pool.shutdown
      [values, ran && pool.wait_for_termination(10)]
    RUBY

    both_ways "latches, semaphores, maps and delays between fibers and threads; one that waits is cancelled", [:cancelled, 20, 3], <<~'RUBY'
      latch = Concurrent::CountDownLatch.new(21)
      stuck = go { latch.wait }
      sleep 0
      ended = cancelled_while_a_condition_waits(stuck)
      semaphore = Concurrent::Semaphore.new(2)
      counted = Concurrent::AtomicFixnum.new
      fibers = 10.times.map { go { semaphore.acquire; counted.increment; semaphore.release; latch.count_down } }
      threads = 10.times.map { Thread.new { semaphore.acquire; counted.increment; semaphore.release; latch.count_down } }
      fibers.each(&:value)
      threads.each(&:join)
      latch.count_down
      latch.wait
      [ended, counted.value, Concurrent.dataflow { 3 }.value]
    RUBY
  end

  describe "sidekiq" do
    software "sidekiq", requires: %w[sidekiq], server: :redis

    sidekiq = <<~'RUBY'
      require "logger"
      BEFORE_7 = Gem::Version.new(Sidekiq::VERSION) < Gem::Version.new("7")
      OPTIONS = BEFORE_7 ? { path: ARGV[0] } : { url: "unix://#{ARGV[0]}" }
      Sidekiq.configure_client { |config| config.redis = OPTIONS; config.logger = Logger.new(File::NULL) }
      insist { Sidekiq.redis { |redis| redis.call("PING") } }
    RUBY

    both_ways "four fibers push jobs, each whole", [4, [[0], [1], [2], [3]]], sidekiq + <<~'RUBY'
      Sidekiq.redis { |redis| redis.call("DEL", "queue:default") }
      ids = together(4) { |number| Sidekiq::Client.push("class" => "Work", "args" => [number]) }
      pushed = Sidekiq.redis { |redis| redis.call("LRANGE", "queue:default", "0", "-1") }
      [ids.uniq.size, pushed.map { |text| JSON.parse(text)["args"] }.sort]
    RUBY

    both_ways "pushes wait at the server or for a connection; one that is cancelled leaves the pool whole",
              [:cancelled, [1, 2, 3]], sidekiq + <<~'RUBY'
      require "socket"
      Sidekiq.configure_client { |config| config.redis = OPTIONS.merge(size: 2) }
      Sidekiq.redis { |redis| redis.call("FLUSHALL") }
      admin = UNIXSocket.new(ARGV[0])
      # The server keeps waiting who would write.
      paused = ->(word) { admin.write("CLIENT #{word}\r\n"); admin.gets }
      waiting = lambda do
        admin.write("CLIENT LIST\r\n")
        admin.read(Integer(admin.gets.delete_prefix("$")) + 2).scan(/ flags=\w*b/).size
      end
      paused["PAUSE 60000 WRITE"]
      push = ->(number) { go { Sidekiq::Client.push("class" => "Work", "args" => [number]) } }
      stuck = push[0]
      ask_until { waiting.call == 1 }
      others = [1, 2, 3].map(&push)
      ask_until { waiting.call >= 2 }
      ended = stuck.cancel
      paused["UNPAUSE"]
      others.each(&:value)
      # What was cancelled may have reached the server or not; the others did.
      pushed = Sidekiq.redis { |redis| redis.call("LRANGE", "queue:default", "0", "-1") }
      [ended, pushed.map { |text| JSON.parse(text)["args"][0] }.sort - [0]]
    ensure
      admin.write("CLIENT UNPAUSE\r\n")
    RUBY

    both_ways "a worker within the process: two jobs are in its threads at once, one fails and is kept, and it stops",
              [[[0, 6], [1, 6]], 1], sidekiq + <<~'RUBY'
      Sidekiq.redis { |redis| redis.call("FLUSHALL") } # another example's are there still
      INSIDE, DONE, GO_ON = Array.new(3) { Thread::Queue.new }
      class Work
        include(BEFORE_7 ? Sidekiq::Worker : Sidekiq::Job)
        sidekiq_options retry: 2
        def perform(number)
          raise "meant" if number == 2

          INSIDE << number
          GO_ON.pop
          sum = DROP_IN ? 3.times.map { |each| spin { sleep 0.001; each + 1 } }.map(&:await).sum : [1, 2, 3].sum { |each| sleep(0.001); each }
          DONE << [number, sum]
        end
      end
      # Version 6 starts its threads as its command does; later ones have a way to be embedded.
      worker =
        if BEFORE_7
          require "sidekiq/launcher"
          Sidekiq::Launcher.new(Sidekiq.options.merge(queues: ["work"], concurrency: 2, timeout: 5)).tap(&:run)
        else
          Sidekiq.configure_embed { |config| config.redis = OPTIONS; config.logger = Logger.new(File::NULL); config.queues = ["work"]; config.concurrency = 2 }.tap(&:run)
        end
      together(3) { |number| Sidekiq::Client.push("class" => "Work", "queue" => "work", "args" => [number]) }
      2.times { INSIDE.pop }
      2.times { GO_ON << 1 }
      done = 2.times.map { DONE.pop }
      failed = -> { Sidekiq.redis { |redis| redis.call("ZCARD", "retry") } }
      ask_until { failed.call == 1 }
      worker.stop
      [done.sort, failed.call]
    RUBY
  end

  describe "rspec" do
    software "rspec", requires: %w[rspec/core rspec/expectations rspec/mocks stringio tempfile]

    both_ways "its examples, run within a fiber, use fibers in hooks, lets and matchers, and wait", [1, "4 examples, 1 failure", "meant"], <<~'RUBY'
      Tempfile.create(["some", "_spec.rb"]) do |file|
        file << <<~SPEC
          RSpec.describe "Fibers" do
            let(:later) { go { sleep 0.001; 7 } }
            around { |example| go { nil }.value; sleep 0.001; example.run }
            before(:context) { @queue = Thread::Queue.new; @feeder = go { 4.times { |number| sleep 0.001; @queue << number } } }
            after(:context) { @feeder.value }
            it("waits") { expect(later.value).to eq 7 }
            it("expects errors of fibers") { expect { raise go { sleep 0.001; raise IOError, "x" }.error }.to raise_error(IOError) }
            it("mocks") { double(:it, call: 3).then { |mock| expect(go { mock.call }.value + @queue.pop).to be >= 3 } }
            it("fails") { go { sleep 0.001; raise "meant" }.value }
          end
        SPEC
        file.close
        out = StringIO.new
        status = RSpec::Core::Runner.run(["--no-color", "--options", File::NULL, file.path], StringIO.new, out)
        [status, out.string[/\d+ examples, \d+ failures?/], out.string[/^ +meant$/].to_s.strip]
      end
    RUBY
  end

  { "faraday" => ["faraday", "Faraday.get(url).body", "Faraday::ConnectionFailed"],
    "httparty" => ["httparty", "HTTParty.get(url).body", "Errno::ECONNREFUSED"] }.each do |name, (library, call, refused)|
    describe name do
      software name, requires: [library, "socket"], server: :http

      both_ways "four requests are at the server at once; one that is cancelled leaves them; a refused one is told",
                [:cancelled, %w[0 1 2 3], refused], <<~RUBY
        root = "http://127.0.0.1:\#{ARGV[0]}"
        ask = ->(url) { #{call} }
        stuck = go { ask["\#{root}/never"] }
        ask_until { ask["\#{root}/held"] == "1" }
        waiting = 3.times.map { |number| go { ask["\#{root}/together/4/\#{$$}/\#{number}"] } }
        ended = stuck.cancel
        last = ask["\#{root}/together/4/\#{$$}/3"]
        free = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
        [ended, waiting.map(&:value) + [last], error_of { ask["http://127.0.0.1:\#{free}/"] }.class.name]
      RUBY
    end
  end

  describe "minitest" do
    software "minitest", requires: %w[minitest stringio]

    both_ways "its tests, run within a fiber, may use fibers and wait", [true, 2, 1], <<~'RUBY'
      class Waits < Minitest::Test
        def test_passes = assert_equal([0, 1, 2], together(3) { |number| sleep 0.001; number })
        def test_fails = assert_equal(1, go { sleep 0.001; 2 }.value)
      end
      Minitest.seed = 1 if Minitest.respond_to?(:seed=)
      results = %w[test_passes test_fails].map { |name| Minitest.run_one_method(Waits, name) rescue Waits.new(name).run }
      [results.first.passed?, results.sum(&:assertions), results.sum { |result| result.failures.size }]
    RUBY
  end

  describe "async and async-http" do
    software "async, async-http", requires: %w[async async/http/internet], server: :http

    both_ways "in another thread of the same process, while our fibers run in this one", [%w[0 1 2 3], [0, 1]], <<~'RUBY'
      root = "http://127.0.0.1:#{ARGV[0]}"
      other = Thread.new do
        Async do
          internet = Async::HTTP::Internet.new
          # Two of four requests are Async's: all four are at the server at once.
          answers = 2.times.map { |number| Async { internet.get("#{root}/together/4/#{$$}/#{number}").read } }.map(&:wait)
          internet.close
          answers
        end.wait
      end
      require "net/http"
      ours = together(2) { |number| Net::HTTP.get(URI("#{root}/together/4/#{$$}/#{number + 2}")) }
      [other.value + ours, together(2) { |number| sleep 0.001; number }]
    RUBY

    both_ways "one of ours and one of Async's are cancelled, each by its own, and the others are answered", [:cancelled, true, %w[0 1]], <<~'RUBY'
      require "net/http"
      root = "http://127.0.0.1:#{ARGV[0]}"
      ask = ->(path) { Net::HTTP.get(URI("#{root}/#{path}")) }
      stop, stopped = Thread::Queue.new, Thread::Queue.new
      other = Thread.new do
        Async do |task|
          internet = Async::HTTP::Internet.new
          stuck = task.async { internet.get("#{root}/never").read }
          answered = task.async { internet.get("#{root}/together/2/#{$$}/0").read }
          stop.pop
          stuck.stop
          stopped << %i[stopped cancelled].include?(stuck.status)
          answered.wait.tap { internet.close }
        end.wait
      end
      stuck = go { ask["never"] }
      ask_until { ask["held"] == "2" }
      ended = stuck.cancel
      ask_until { ask["held"] == "1" }
      stop << nil
      status = stopped.pop
      last = ask["together/2/#{$$}/1"]
      [ended, status, [other.value, last]]
    RUBY
  end
end
