# frozen_string_literal: true

# A WebSocket server that echoes texts (RFC 6455), in plain Ruby.
#
#     ruby websocket_echo_server.rb [PORT]      in a browser's console:
#     ws = new WebSocket("ws://127.0.0.1:PORT"); ws.onmessage = (e) => console.log(e.data); ws.send("hello")
require "polyphony"
require "digest"
require "socket"

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
LIMIT = 1 << 20

# Whether the client asked for a WebSocket.
def handshake(socket)
  headers = socket.each_line("\r\n", chomp: true).take_while { |line| !line.empty? }
  key = headers.filter_map { |header| header[/\Asec-websocket-key: *(\S+)/i, 1] }.first
  unless key
    socket.write "HTTP/1.1 400 Bad Request\r\n\r\n"
    return false
  end

  accept = Digest::SHA1.base64digest(key + GUID)
  socket.write "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
               "Sec-WebSocket-Accept: #{accept}\r\n\r\n"
  true
end

# Exactly so many bytes.
def take(socket, size)
  data = size.zero? ? "" : socket.read(size)
  raise EOFError, "the client went away" unless data&.bytesize == size

  data
end

# The kind of a frame and what it carries. Clients mask what they send.
def read_frame(socket)
  first, second = take(socket, 2).bytes
  length = second & 127
  length = take(socket, 2).unpack1("n") if length == 126
  length = take(socket, 8).unpack1("Q>") if length == 127
  raise IOError, "too long" if length > LIMIT

  mask = take(socket, 4).bytes
  [first & 15, take(socket, length).bytes.each_with_index.map { |byte, i| byte ^ mask[i % 4] }.pack("C*")]
end

def write_frame(socket, kind, payload)
  size = payload.bytesize
  head = size < 126 ? [128 | kind, size].pack("CC") : [128 | kind, 126, size].pack("CCn")
  head = [128 | kind, 127, size].pack("CCQ>") if size > 65_535
  socket.write(head, payload)
end

def serve(socket)
  return unless handshake(socket)
  loop do
    kind, payload = read_frame(socket)
    case kind
    when TEXT then write_frame(socket, TEXT, payload)
    when PING then write_frame(socket, PONG, payload)
    when CLOSE then return write_frame(socket, CLOSE, payload)
    end
  end
rescue SystemCallError, IOError
  # The client went away in the middle of a frame.
ensure
  socket.close
end

$stdout.sync = true
begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(0, 0))
  puts "listening on 127.0.0.1:#{server.addr[1]}"
  server.accept_loop { |socket| spin { serve(socket) } }
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
