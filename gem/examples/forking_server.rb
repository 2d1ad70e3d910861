# frozen_string_literal: true

# One port, several processes: each worker accepts for itself, and one that dies is replaced.
#
#     ruby forking_server.rb [WORKERS] [PORT]
#
# A connection gets the worker's process id, and may send "die".
require "polyphony"
require "socket"

def work(server)
  server.accept_loop do |socket|
    spin do
      socket.puts Process.pid
      exit!(1) if socket.gets(chomp: true) == "die"
    rescue SystemCallError
      # The client went away in the middle.
    ensure
      socket.close
    end
  end
end

$stdout.sync = true

begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(1, 0))
  workers = Integer(ARGV.fetch(0, 2)).times.map do |i|
    spin(:"worker #{i}") { Polyphony.watch_process { work(server) } }
  end
  puts "listening on 127.0.0.1:#{server.addr[1]}"
  supervise(*workers, restart: :always)
rescue SignalException # SIGINT or SIGTERM
  Fiber.current.shutdown_all_children # asks each worker to end, and waits for it
  puts "stopped"
end
