# frozen_string_literal: true

# UDP: every datagram goes back to whoever sent it, until one says "quit".
#
#     ruby udp_echo_server.rb [PORT]      then: nc -u 127.0.0.1 PORT
require "polyphony"
require "socket"

$stdout.sync = true

begin
  socket = UDPSocket.new
  socket.bind("127.0.0.1", Integer(ARGV.fetch(0, 0)))
  puts "listening on 127.0.0.1:#{socket.addr[1]}"

  datagrams = 0
  loop do
    text, (_family, port, _name, host) = socket.recvfrom(65_536)
    break if text.chomp == "quit"

    datagrams += 1
    socket.send(text, 0, host, port)
  end
  puts "#{datagrams} datagrams"
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
