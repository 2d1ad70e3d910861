# frozen_string_literal: true

# An echo server: every line comes back, a fiber a connection.
#
#     ruby echo_server.rb [PORT]      then: nc 127.0.0.1 PORT
require "polyphony"
require "socket"

$stdout.sync = true

begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(0, 0))
  puts "listening on 127.0.0.1:#{server.addr[1]}"

  server.accept_loop do |socket|
    spin do
      socket.gets_loop { |line| socket << line }
    rescue SystemCallError
      # The client went away without a goodbye.
    ensure
      socket.close
    end
  end
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
