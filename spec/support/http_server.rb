# frozen_string_literal: true

# An HTTP/1.1 server of stock Ruby, with a thread a connection, in a process of its own: it tells how many wait.
#
#     /together/8/A/b waits until eight requests of A are there, then answers each with its b
#     /never/…        is never answered; /half/… is answered with half of what it promises
#     /held           how many wait for that
#     /connections    how many connections there were
#     /redirect       leads to /echo
#     /silent         how many are connected to the port that says nothing, not even in a handshake
#     anything else   is answered with its own path, or with the body that it came with
#
# Run as a program with the directory of a certificate it prints its ports: plain, TLS, silent.
class HTTPServer
  PROGRAM = __FILE__

  def initialize(directory)
    require "socket"
    require "openssl"
    @directory = directory
    @lock = Mutex.new
    @changed = ConditionVariable.new
    @count = Hash.new(0)
  end

  def run
    plain, tls, silent = Array.new(3) { TCPServer.new("127.0.0.1", 0) }
    Thread.new { accept(plain) { |socket| serve(socket) } }
    Thread.new { accept(tls) { |socket| serve(secured(socket)) } }
    Thread.new { accept(silent) { |socket| held(:silent) { socket.read } } }
    puts [plain, tls, silent].map { |server| server.addr[1] }.join(" ")
    $stdout.flush
    $stdin.read
  end

  private

  def accept(server)
    loop do
      Thread.new(server.accept) do |socket|
        yield socket
      rescue SystemCallError, IOError, OpenSSL::SSL::SSLError
        nil # the client has gone, as it is meant to
      ensure
        socket.close
      end
    end
  end

  def secured(socket)
    context = OpenSSL::SSL::SSLContext.new
    context.cert = OpenSSL::X509::Certificate.new(File.read("#{@directory}/certificate.pem"))
    context.key = OpenSSL::PKey.read(File.read("#{@directory}/key.pem"))
    OpenSSL::SSL::SSLSocket.new(socket, context).accept
  end

  def serve(socket)
    add(:connections)
    while (request = socket.gets)
      path = request.split[1]
      headers = {}
      while (line = socket.gets.chomp) != ""
        name, value = line.split(": ", 2)
        headers[name.downcase] = value
      end
      body = headers["content-length"] && socket.read(Integer(headers["content-length"]))
      answer(socket, path, body)
    end
  end

  def answer(socket, path, body)
    case path
    when %r{^/together/(\d+)/(\w+)/(\w+)}
      meet(Integer($1), $2)
      reply(socket, $3)
    when %r{^/never} then held(:held) { socket.read }
    when %r{^/half}
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n#{"x" * 50}")
      held(:held) { socket.read }
    when "/redirect" then socket.write("HTTP/1.1 302 Found\r\nLocation: /echo\r\nContent-Length: 0\r\n\r\n")
    when "/chunks" then socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    when "/held", "/silent", "/connections" then reply(socket, @lock.synchronize { @count[path[1..].to_sym] }.to_s)
    else reply(socket, body || path)
    end
  end

  def reply(socket, body)
    socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}")
  end

  def add(what, number = 1)
    @lock.synchronize do
      @count[what] += number
      @changed.broadcast
    end
  end

  def held(what)
    add(what)
    yield
  ensure
    add(what, -1)
  end

  # Waits until so many of a group are here.
  def meet(number, group)
    @lock.synchronize do
      @count[group] += 1
      @changed.broadcast
      @changed.wait(@lock) until @count[group] >= number
    end
  end
end

HTTPServer.new(ARGV[0]).run if $PROGRAM_NAME == __FILE__
