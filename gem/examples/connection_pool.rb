# frozen_string_literal: true

# Ten clients share three connections to a server.
#
#     ruby connection_pool.rb
require "polyphony"
require "socket"

connections = 0
listener = TCPServer.new("127.0.0.1", 0)
server = spin(:server) do
  listener.accept_loop do |socket|
    connections += 1
    spin { socket.gets_loop(chomp: true) { |number| socket.puts Integer(number) * 2 } }
  end
end

pool = Polyphony::ResourcePool.new(limit: 3) { TCPSocket.new("127.0.0.1", listener.addr[1]) }
clients = 10.times.map do |i|
  spin do
    pool.acquire do |socket|
      socket.puts i
      socket.gets(chomp: true)
    end
  end
end

puts Fiber.await(*clients).join(" ")
puts "connections: #{connections}, free again: #{pool.available}"
server.stop.await
