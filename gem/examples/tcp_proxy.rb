# frozen_string_literal: true

# A TCP proxy. The kernel moves the bytes from socket to socket; Ruby never sees them.
#
#     ruby tcp_proxy.rb HOST PORT [LOCAL PORT]
require "polyphony"
require "socket"

HOST, PORT = ARGV
abort "to which host and port?" unless PORT

# Everything from one to the other, and its end, too.
def pass_on(from, to)
  IO.double_splice(from, to)
  to.close_write
end

def serve(client)
  upstream = TCPSocket.new(HOST, PORT)
  spin_scope do
    spin { pass_on(client, upstream) }
    spin { pass_on(upstream, client) }
  end
rescue SystemCallError => e
  puts "gave up: #{e.class}"
ensure
  upstream&.close
  client.close
end

$stdout.sync = true

begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(2, 0))
  puts "listening on 127.0.0.1:#{server.addr[1]}"
  server.accept_loop { |client| spin { serve(client) } }
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
