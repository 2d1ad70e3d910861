# frozen_string_literal: true

# Says which TCP ports of a host are open, trying many at once. Scan only what is yours.
#
#     ruby port_scanner.rb HOST PORT...      ranges too: 1-1024 8080
require "polyphony"
require "socket"

AT_ONCE = 100

def open?(host, port)
  cancel_after(1) { TCPSocket.new(host, port).close }
  true
rescue SystemCallError, Polyphony::Cancel
  false
end

host, *ranges = ARGV
abort "which host and ports?" if ranges.empty?

ports = Queue.new
ranges.each do |range|
  first, last = range.split("-").map { |port| Integer(port) }
  first.upto(last || first) { |port| ports << port }
end
ports.close
count = ports.size

found = []
scanners = Array.new(AT_ONCE) do
  spin do
    while (port = ports.shift)
      found << port if open?(host, port)
    end
  end
end
Fiber.await(*scanners)

found.sort.each { |port| puts "#{port} is open" }
puts "#{found.size} of #{count}"
