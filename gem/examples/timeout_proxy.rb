# frozen_string_literal: true

# An HTTP proxy in front of a server that may be slow: whoever has no answer in time gets 504, and a server that is
# not there means 502.
#
#     ruby timeout_proxy.rb HOST PORT SECONDS [LOCAL PORT]
require "polyphony"
require "socket"

HOST, PORT, SECONDS = ARGV
abort "which host, port, and how many seconds?" unless SECONDS

# The request as it is to be sent on: one request a connection.
def read_request(client)
  lines = client.each_line.take_while { |line| line != "\r\n" }
  lines.reject { |line| line.match?(/\Aconnection:/i) }.join + "Connection: close\r\n\r\n"
end

def ask(request)
  upstream = TCPSocket.new(HOST, PORT)
  upstream.write(request)
  upstream.close_write
  upstream.read
ensure
  upstream&.close
end

def serve(client)
  request = read_request(client)
  client.write cancel_after(Float(SECONDS)) { ask(request) }
rescue Polyphony::Cancel
  client.write "HTTP/1.1 504 Gateway Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
rescue Errno::ECONNREFUSED
  client.write "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
rescue SystemCallError
  # One of the two went away in the middle.
ensure
  client.close
end

$stdout.sync = true

begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(3, 0))
  puts "listening on 127.0.0.1:#{server.addr[1]}"
  server.accept_loop { |client| spin { serve(client) } }
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
