# frozen_string_literal: true

# Connects to the first of several addresses that answers, as browsers do (RFC 8305): every quarter of a second
# another attempt begins beside those under way; one that fails starts the next at once.
#
#     ruby happy_eyeballs.rb ADDRESS PORT ADDRESS PORT...      for instance: ::1 80 127.0.0.1 80
require "polyphony"
require "socket"

DELAY = 0.25

# The socket of whichever came first; nil where no address answers. Attempts that lose are ended.
def connect_to_first(targets)
  ends = Queue.new
  attempts = []
  until targets.empty? && attempts.all?(&:dead?)
    attempts << attempt(*targets.shift, ends) if targets.any?
    socket = targets.any? ? move_on_after(DELAY) { ends.shift } : ends.shift
    return socket if socket
  end
ensure
  attempts.each(&:stop)
  Fiber.await(*attempts)
  ends.shift&.close until ends.empty? # too late
end

# A fiber that puts the socket into the queue, or nil where there will be none.
def attempt(host, port, ends)
  spin do
    ends << TCPSocket.new(host, port)
  rescue SystemCallError => e
    puts "#{host}: #{e.class}"
    ends << nil
  end
end

socket = connect_to_first(ARGV.each_slice(2).to_a) or abort "nobody answers"
puts "connected to #{socket.peeraddr[3]}"
puts socket.gets
socket.close
