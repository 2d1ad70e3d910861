# frozen_string_literal: true

require_relative "../support/software"

RSpec.describe "redis" do
  software "redis", requires: %w[redis timeout], server: :redis

  redis = <<~'RUBY'
    def connect(**options) = insist { Redis.new(path: ARGV[0], **options).tap(&:ping) }
    def blocked(redis) = redis.info("clients")["blocked_clients"].to_i
    MAIN = connect
    MAIN.flushall
  RUBY

  both_ways "eight fibers wait for the server at once", (0...8).map(&:to_s), redis + <<~'RUBY'
    waiting = 8.times.map { |number| go { connect.blpop("list#{number}", timeout: 0).last } }
    ask_until { blocked(MAIN) == 8 }
    8.times { |number| MAIN.rpush("list#{number}", number) }
    waiting.map(&:value)
  RUBY

  both_ways "pipelines, transactions and large values of several fibers stay apart", [true, ["OK", 2, "2"]], redis + <<~'RUBY'
    values = together(4) do |number|
      client = connect
      client.set("key#{number}", number.to_s * 300_000)
      client.pipelined { |pipe| pipe.get("key#{number}"); pipe.get("key#{number}") } == [number.to_s * 300_000] * 2
    end
    [values.all?, connect.multi { |it| it.set("counter", 1); it.incr("counter"); it.get("counter") }]
  RUBY

  both_ways "one client for many fibers: each gets its own answer", (0...20).map { |number| "value#{number}" }, redis + <<~'RUBY'
    together(20) { |number| MAIN.echo("value#{number}") }
  RUBY

  both_ways "what is published reaches who has subscribed", %w[one two], redis + <<~'RUBY'
    heard = []
    subscribed = go do
      client = connect
      client.subscribe("news") do |on|
        on.message do |_, text|
          heard << text
          client.unsubscribe if heard.size == 2
        end
      end
    end
    ask_until { MAIN.pubsub("numsub", "news").last == 1 }
    %w[one two].each { |text| MAIN.publish("news", text) }
    subscribed.value
    heard
  RUBY

  both_ways "a command that is cancelled leaves other clients, and its own client never reads another's answer", [:cancelled, "7", true], redis + <<~'RUBY'
    client = connect
    waiting = go { client.blpop("nothing", timeout: 0) }
    other = go { connect.blpop("list", timeout: 0).last }
    ask_until { blocked(MAIN) == 2 }
    ended = waiting.cancel
    MAIN.rpush("list", 7)
    sane = begin
      client.echo("mine") == "mine"
    rescue Redis::BaseError => e
      e.message.size.positive?
    end
    [ended, other.value, sane]
  RUBY

  both_ways "Timeout and the client's own read timeout end a command", ["Timeout::Error", "Redis::TimeoutError", "PONG"], redis + <<~'RUBY'
    late = error_of { Timeout.timeout(0.05) { connect.blpop("nothing", timeout: 0) } }
    client = connect(timeout: 0.05, reconnect_attempts: 0)
    own = error_of { client.call(%w[BLPOP nothing 0]) }
    own = error_of { client.call("BLPOP", "nothing", "0") } unless own.is_a?(Redis::BaseError)
    [late.class.name, own.class.name, MAIN.ping]
  RUBY

  both_ways "of several that share a client one is cancelled, and each other gets its own answer", [:cancelled, (0...4).map { |number| "value#{number}" }], redis + <<~'RUBY'
    client = connect
    stuck = go { client.blpop("nothing", timeout: 0) }
    ask_until { blocked(MAIN) == 1 }
    others = 4.times.map { |number| go { client.echo("value#{number}") } }
    20.times { sleep 0 }
    [stuck.cancel, others.map(&:value)]
  RUBY

  both_ways "who has subscribed is cancelled: the server forgets it, and its client can be used again", [:cancelled, 0, "mine"], redis + <<~'RUBY'
    client = connect
    hearing = go { client.subscribe("news") { |on| on.message { |_, _| } } }
    ask_until { MAIN.pubsub("numsub", "news").last == 1 }
    ended = hearing.cancel
    answer = client.echo("mine")
    [ended, MAIN.pubsub("numsub", "news").last, answer]
  RUBY
end
