# frozen_string_literal: true

# A server that finishes what it has begun: told to stop, it takes no more connections, lets requests in hand
# end, and gives them so many seconds for it.
#
#     ruby graceful_shutdown.rb [PORT]      then: echo 0.5 | nc 127.0.0.1 PORT, and interrupt the server meanwhile
#
# A request is a number of seconds, and takes as long.
require "polyphony"
require "socket"

GRACE = 5

def serve(socket)
  seconds = Float(socket.gets)
  puts "working"
  sleep seconds
  socket.puts "done"
rescue SystemCallError, ArgumentError, TypeError
  # The client went away, or said nonsense.
ensure
  socket.close
end

$stdout.sync = true
server = TCPServer.new("127.0.0.1", ARGV.fetch(0, 0))
acceptor = spin(:acceptor) do
  server.accept_loop { |socket| Thread.main.main_fiber.spin(:request) { serve(socket) } }
end
%w[INT TERM].each { |signal| trap(signal) { acceptor.stop } }

puts "listening on 127.0.0.1:#{server.addr[1]}"
acceptor.await
server.close
requests = Fiber.current.children.select { |fiber| fiber.tag == :request }
puts "finishing #{requests.size}"
finished = move_on_after(GRACE) { Fiber.await(*requests) }
puts finished ? "all done" : "out of time"
