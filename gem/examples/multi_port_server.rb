# frozen_string_literal: true

# One program, several services, each on a port of its own; each listener is a fiber.
#
#     ruby multi_port_server.rb [PORT FOR upcase] [FOR reverse] [FOR time]
require "polyphony"
require "socket"

SERVICES = {
  "upcase" => ->(socket) { socket.gets_loop(chomp: true) { |line| socket.puts line.upcase } },
  "reverse" => ->(socket) { socket.gets_loop(chomp: true) { |line| socket.puts line.reverse } },
  "time" => ->(socket) { socket.puts Time.now.strftime("%F %T") }
}.freeze

def listen(name, port, service)
  server = TCPServer.new("127.0.0.1", port)
  puts "#{name} on 127.0.0.1:#{server.addr[1]}"
  spin(name) do
    server.accept_loop do |socket|
      spin do
        service.call(socket)
      rescue SystemCallError
        # The client went away in the middle.
      ensure
        socket.close
      end
    end
  end
end

$stdout.sync = true

begin
  listeners = SERVICES.each_with_index.map { |(name, service), i| listen(name, ARGV.fetch(i, 0), service) }
  Fiber.await(*listeners)
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
