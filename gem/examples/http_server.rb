# frozen_string_literal: true

# An HTTP/1.1 keep-alive server in blocking style: a fiber a connection, a deadline a request.
#
#     ruby -rpolyphony gem/examples/http_server.rb [PORT]      (0, the default, lets the kernel choose)
#
#     GET  /          a greeting
#     GET  /bytes/N   N bytes that anyone can compute: byte i is 33 + i % 89
#     POST /echo      the body, back (Content-Length)
#
# An interrupt (SIGINT) ends it gracefully: no new connections, requests in hand are finished, idle
# connections are closed. Then it says what it did.
require "polyphony"
require "socket"

class HTTPServer
  BadRequest = Class.new(StandardError)

  REQUEST_SECONDS = 10
  LINE_LIMIT = 8 * 1024
  BODY_LIMIT = 1024 * 1024
  PATTERN = Array.new(89) { |i| 33 + i }.pack("C*").freeze
  REASONS = { 200 => "OK", 400 => "Bad Request", 404 => "Not Found" }.freeze

  # Where a connection is between two requests, it may be closed without loss.
  Connection = Struct.new(:socket, :fiber, :busy)

  def initialize(port)
    @listener = TCPServer.new("127.0.0.1", port)
    @listener.listen(4096)
    @connections = {}
    @requests = 0
    @peak = 0
    @stopping = false
  end

  def port = @listener.addr[1]

  # Serves until {#stop}, and then until the requests in hand are finished.
  def run
    loop { welcome(accept) }
  rescue IOError
    # The listener was closed under us: that is how we are told to stop.
    @connections.each_value { |connection| connection.fiber.stop unless connection.busy }
    Fiber.await(*@connections.each_value.map(&:fiber))
  end

  def stop
    @stopping = true
    @listener.close
  end

  def report
    backend = Thread.current.backend
    stats = backend.respond_to?(:stats) ? backend.stats : {}
    [["requests", @requests], ["fibers", @peak + 1], ["backend", backend.kind],
     ["ring", backend.respond_to?(:describe) ? backend.describe : "?"],
     ["turns", stats[:turns] || stats[:poll_count]], ["peak_rss_kb", peak_rss]]
  end

  private

  def accept
    @listener.accept
  rescue Errno::ECONNABORTED
    retry
  rescue Errno::EMFILE, Errno::ENFILE
    # Out of descriptors: the client stays in the listener's queue until a connection ends.
    sleep 0.05
    retry
  end

  def welcome(socket)
    socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
    connection = Connection.new(socket, nil, false)
    @connections[socket] = connection
    @peak = @connections.size if @connections.size > @peak
    connection.fiber = spin { serve(connection) }
  end

  def serve(connection)
    converse(connection)
  rescue SystemCallError, IOError, Polyphony::Cancel
    # The client went away, or took too long: nobody is there to be told.
  ensure
    @connections.delete(connection.socket)
    connection.socket.close
  end

  def converse(connection)
    socket = connection.socket
    while !@stopping && (line = socket.gets("\r\n", LINE_LIMIT))
      connection.busy = true
      cancel_after(REQUEST_SECONDS) { answer(socket, line) }
      connection.busy = false
    end
  rescue BadRequest => error
    respond(socket, 400, "#{error.message}\n")
  end

  def answer(socket, line)
    verb, path, version = line.chomp("\r\n").split(" ", 3)
    raise BadRequest, "not a request line" unless version == "HTTP/1.1"

    body = read_body(socket, read_headers(socket))
    @requests += 1
    case [verb, path]
    in ["GET", "/"] then respond(socket, 200, "Hello from a fiber.\n")
    in ["GET", %r{\A/bytes/(\d{1,7})\z}] then respond(socket, 200, bytes(path.delete_prefix("/bytes/").to_i))
    in ["POST", "/echo"] then respond(socket, 200, body)
    else respond(socket, 404, "no #{verb} #{path}\n")
    end
  end

  def read_headers(socket)
    headers = {}
    until (line = next_line(socket)).empty?
      name, value = line.split(":", 2)
      raise BadRequest, "not a header" if value.nil? || headers.size == 100

      headers[name.downcase] = value.strip
    end
    headers
  end

  def next_line(socket)
    line = socket.gets("\r\n", LINE_LIMIT)
    raise BadRequest, "a line without an end" unless line&.end_with?("\r\n")

    line.chomp("\r\n")
  end

  def read_body(socket, headers)
    length = headers.fetch("content-length", "0")
    raise BadRequest, "not a length" unless length.match?(/\A\d{1,7}\z/) && length.to_i <= BODY_LIMIT
    return "" if length.to_i.zero?

    body = socket.read(length.to_i)
    raise BadRequest, "a body without an end" unless body&.bytesize == length.to_i

    body
  end

  def bytes(count)
    raise BadRequest, "too many bytes" if count > BODY_LIMIT

    (PATTERN * (count / PATTERN.size + 1)).byteslice(0, count)
  end

  def respond(socket, status, body)
    head = "HTTP/1.1 #{status} #{REASONS.fetch(status)}\r\nContent-Length: #{body.bytesize}\r\n"
    head << "Connection: close\r\n" if status == 400
    socket.write(head << "\r\n" << body)
  end

  def peak_rss = File.read("/proc/self/status")[/^VmHWM:\s+(\d+)/, 1]
end

if $PROGRAM_NAME == __FILE__
  server = HTTPServer.new(Integer(ARGV.fetch(0, "0")))
  trap("INT") { server.stop }
  puts "listening on 127.0.0.1:#{server.port}"
  puts "polyphony from #{$LOADED_FEATURES.grep(%r{/polyphony_ruby\.so\z}).first}"
  $stdout.flush
  server.run
  server.report.each { |name, value| puts "#{name}\t#{value}" }
end
