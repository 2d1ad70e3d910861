# frozen_string_literal: true

# A server that remembers what it computed. Computing has a thread of its own, so other clients are served
# meanwhile; who asks for what is being computed waits for the same result.
#
#     ruby memoizing_server.rb [PORT]      then: echo 25 | nc 127.0.0.1 PORT
require "polyphony"
require "socket"

def fibonacci(number) = number < 2 ? number : fibonacci(number - 1) + fibonacci(number - 2)

class Memory
  def initialize(&compute)
    @compute = compute
    @pool = Polyphony::ThreadPool.new(1)
    @locks = Hash.new { |locks, key| locks[key] = Mutex.new }
    @results = {}
  end

  def [](key)
    @locks[key].synchronize do
      @results.fetch(key) do
        puts "computing #{key}"
        @results[key] = @pool.process { @compute.call(key) }
      end
    end
  end
end

$stdout.sync = true

begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(0, 0))
  puts "listening on 127.0.0.1:#{server.addr[1]}"

  memory = Memory.new { |number| fibonacci(number) }
  server.accept_loop do |socket|
    spin do
      socket.gets_loop(chomp: true) do |line|
        socket.puts line.match?(/\A[12]?\d\z/) ? memory[line.to_i] : "a number from 0 to 29, please"
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
