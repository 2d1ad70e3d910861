# frozen_string_literal: true

# Serves the files below a directory over HTTP, and nothing beside it.
#
#     ruby static_file_server.rb DIRECTORY [PORT]
require "polyphony"
require "socket"

ROOT = File.realpath(ARGV.fetch(0) { abort "which directory?" })
TYPES = { ".html" => "text/html", ".txt" => "text/plain" }.freeze

# The file that a path means; nil where there is none, or it would lead out of the directory.
def find(path)
  file = File.realpath(File.join(ROOT, path.split("?").first))
  file if file.start_with?("#{ROOT}/") && File.file?(file)
rescue SystemCallError, ArgumentError
  nil
end

def answer(socket, path)
  file = find(path) or return socket.write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

  type = TYPES.fetch(File.extname(file), "application/octet-stream")
  socket.write("HTTP/1.1 200 OK\r\nContent-Type: #{type}\r\nContent-Length: #{File.size(file)}\r\n\r\n")
  IO.copy_stream(file, socket)
end

# Requests follow each other on a connection, until the client ends it or says nothing for a while.
def serve(socket)
  while (request = move_on_after(10) { socket.gets })
    socket.gets_loop { |header| break if header == "\r\n" }
    answer(socket, request.split[1].to_s)
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
