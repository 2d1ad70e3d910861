# frozen_string_literal: true

# The client of contract.rb's servers, in stock Ruby: starts as many requests as it has connections before it looks
# for an answer. It says "connected", waits for a line, makes its requests and ends.
#
# usage: contract_client.rb keep|accept PORT CONNECTIONS ROUNDS REQUEST BYTES_OF_A_RESPONSE
require "socket"

mode, port, connections, rounds, request, response = ARGV
rounds = Integer(rounds)
response = Integer(response)
CONNECT = lambda do |_|
  Socket.tcp("127.0.0.1", Integer(port)).tap do |socket|
    socket.setsockopt(:TCP, :NODELAY, true)
    # A reset at the end, so that no port is left waiting.
    socket.setsockopt(Socket::Option.linger(true, 0)) if mode == "accept"
  end
end

sockets = Array.new(Integer(connections), &CONNECT) if mode == "keep"
puts "connected"
$stdout.flush
$stdin.gets
rounds.times do
  sockets = Array.new(Integer(connections), &CONNECT) if mode == "accept"
  sockets.each { |socket| socket.syswrite(request) }
  sockets.each { |socket| socket.read(response) }
  sockets.each(&:close) if mode == "accept"
end
