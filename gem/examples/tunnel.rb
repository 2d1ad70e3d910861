# frozen_string_literal: true

# An HTTP tunnel: `CONNECT host:port HTTP/1.1` and from then on bytes both ways.
#
#     ruby tunnel.rb [PORT]      then: curl -p -x 127.0.0.1:PORT http://example.com/
require "polyphony"
require "socket"

# Whichever direction ends first ends the other one, too.
def join(client, upstream)
  there = spin { client.read_loop { |data| upstream << data } }
  back = spin { upstream.read_loop { |data| client << data } }
  Fiber.select(there, back)
ensure
  [there, back].each(&:stop)
end

def serve(client)
  target = client.gets.to_s[/\ACONNECT (\S+:\d+) HTTP/, 1]
  client.gets_loop { |header| break if header == "\r\n" }
  return client.write("HTTP/1.1 405 Method Not Allowed\r\n\r\n") unless target

  upstream = cancel_after(5) { TCPSocket.new(*target.split(/:(?=\d+\z)/)) }
  client.write("HTTP/1.1 200 Connection established\r\n\r\n")
  join(client, upstream)
rescue SystemCallError, SocketError, Polyphony::Cancel
  client.write("HTTP/1.1 502 Bad Gateway\r\n\r\n") unless upstream
ensure
  upstream&.close
  client.close
end

$stdout.sync = true

begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(0, 0))
  puts "listening on 127.0.0.1:#{server.addr[1]}"
  server.accept_loop { |client| spin { serve(client) } }
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
