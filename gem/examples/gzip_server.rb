# frozen_string_literal: true

# An HTTP server that compresses a file while it sends it: no more than a piece of it is in memory.
#
#     ruby gzip_server.rb FILE [PORT]      then: curl --compressed http://127.0.0.1:PORT/
require "polyphony"
require "socket"

FILE = ARGV.fetch(0) { abort "which file?" }

def serve(socket)
  headers = socket.each_line("\r\n", chomp: true).take_while { |line| !line.empty? }
  socket.write("HTTP/1.1 200 OK\r\nConnection: close\r\n")
  File.open(FILE) do |file|
    if headers.grep(/\Aaccept-encoding:.*\bgzip\b/i).any?
      socket.write("Content-Encoding: gzip\r\n\r\n")
      IO.gzip(file, socket, mtime: file.mtime, orig_name: File.basename(FILE))
    else
      socket.write("\r\n")
      IO.copy_stream(file, socket)
    end
  end
rescue SystemCallError
  # The client went away in the middle.
ensure
  socket.close
end

$stdout.sync = true

begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(1, 0))
  puts "listening on 127.0.0.1:#{server.addr[1]}"
  server.accept_loop { |socket| spin { serve(socket) } }
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
