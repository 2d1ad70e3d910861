# frozen_string_literal: true

# Sends requests to an HTTP server, many at a time, over connections that are kept, and says how it did.
#
#     ruby load_generator.rb HOST PORT [CONNECTIONS] [REQUESTS EACH] [PATH]
require "polyphony"
require "socket"

HOST, PORT = ARGV
abort "which host and port?" unless PORT
CONNECTIONS = Integer(ARGV.fetch(2, 10))
REQUESTS = Integer(ARGV.fetch(3, 100))
PATH = ARGV.fetch(4, "/")

def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)

# The status of the answer, whose body is read, too.
def get(socket)
  socket.write "GET #{PATH} HTTP/1.1\r\nHost: #{HOST}\r\n\r\n"
  status = socket.readline.split[1]
  length = 0
  socket.gets_loop(chomp: true) do |header|
    break if header.empty?

    length = Integer(header[/\d+/]) if header.match?(/\Acontent-length:/i)
  end
  socket.read(length)
  status
end

statuses = Hash.new(0)
times = []
connections = Array.new(CONNECTIONS) do
  spin do
    socket = TCPSocket.new(HOST, PORT)
    REQUESTS.times do
      started = clock
      statuses[get(socket)] += 1
      times << (clock - started)
    end
  rescue SystemCallError, EOFError => e
    statuses[e.class.name] += 1
  ensure
    socket&.close
  end
end
started = clock
Fiber.await(*connections)
seconds = clock - started

statuses.sort.each { |status, count| puts "#{status}: #{count}" }
median = times.sort[times.size / 2] || 0
warn format("%.0f requests a second, half of them within %.2f ms", times.size / seconds, median * 1000)
