# frozen_string_literal: true

# A store of keys and values: a line a command, a line an answer.
#
#     ruby kv_store.rb [PORT]      then: nc 127.0.0.1 PORT
#
#     SET key value | GET key | DEL key | INCR key | WAIT key (until it is set) | KEYS | QUIT
require "polyphony"
require "socket"

class Store
  def initialize
    @values = {}
    @waiting = Hash.new { |waiting, key| waiting[key] = [] }
  end

  # Nothing here waits between reading and writing a value, so no lock is needed.
  def run(line)
    case line.split(" ", 3)
    in ["SET", key, value] then set(key, value)
    in ["GET", key] then @values.fetch(key, "(nil)")
    in ["DEL", key] then @values.delete(key) ? "1" : "0"
    in ["INCR", key] then increment(key)
    in ["WAIT", key] then @values[key] || wait(key)
    in ["KEYS"] then @values.keys.sort.join(" ")
    else "ERROR what is #{line.inspect}?"
    end
  rescue ArgumentError
    "ERROR not a number"
  end

  private

  def set(key, value)
    @values[key] = value
    @waiting.delete(key)&.each { |queue| queue << value }
    "OK"
  end

  def increment(key)
    set(key, (Integer(@values.fetch(key, 0)) + 1).to_s)
    @values[key]
  end

  def wait(key)
    queue = Queue.new
    @waiting[key] << queue
    queue.shift
  end
end

$stdout.sync = true

begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(0, 0))
  puts "listening on 127.0.0.1:#{server.addr[1]}"

  store = Store.new
  server.accept_loop do |socket|
    spin do
      socket.gets_loop(chomp: true) do |line|
        break if line == "QUIT"

        socket.puts store.run(line)
      end
    rescue SystemCallError
      # The client went away in the middle.
    ensure
      socket.close
    end
  end
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
