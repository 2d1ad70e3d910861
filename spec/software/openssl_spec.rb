# frozen_string_literal: true

require_relative "../support/software"

RSpec.describe "openssl" do
  software "openssl", requires: %w[socket openssl timeout]

  # A listener in the same thread as its clients; both sides are fibers.
  tls = <<~'RUBY'
    KEY = OpenSSL::PKey::EC.generate("prime256v1")
    CERTIFICATE = OpenSSL::X509::Certificate.new.tap do |it|
      it.version, it.serial = 2, 1
      it.subject = it.issuer = OpenSSL::X509::Name.parse("/CN=localhost")
      it.public_key = KEY
      it.not_before, it.not_after = Time.now - 60, Time.now + 3600
      it.add_extension(OpenSSL::X509::ExtensionFactory.new.create_extension("subjectAltName", "DNS:localhost"))
      it.sign(KEY, "SHA256")
    end
    SERVER_CONTEXT = OpenSSL::SSL::SSLContext.new.tap { |it| it.cert, it.key, it.session_id_context = CERTIFICATE, KEY, "spec" }
    CLIENT_CONTEXT = OpenSSL::SSL::SSLContext.new.tap do |it|
      it.verify_mode, it.cert_store = OpenSSL::SSL::VERIFY_PEER, OpenSSL::X509::Store.new.add_cert(CERTIFICATE)
    end
    LISTENER = TCPServer.new("127.0.0.1", 0)
    def connected = TCPSocket.new("127.0.0.1", LISTENER.addr[1])
    def wrapped(socket, context) = OpenSSL::SSL::SSLSocket.new(socket, context).tap { |it| it.sync_close = true }
    def client(socket = connected, session: nil, context: CLIENT_CONTEXT)
      wrapped(socket, context).tap do |it|
        it.hostname = "localhost"
        it.session = session if session
        it.connect
      end
    end
    def pair
      accepting = go { wrapped(LISTENER.accept, SERVER_CONTEXT).accept }
      [client, accepting.value]
    end
  RUBY

  both_ways "twenty handshakes are under way in one thread at once, on either side", [[20, 20], (0...20).map { |number| "line #{number}\n" }], tls + <<~'RUBY'
    begun = 0
    most = 0
    serving = 20.times.map do
      go do
        socket = LISTENER.accept
        most = [most, begun += 1].max
        sleep 0 until most == 20
        stream = wrapped(socket, SERVER_CONTEXT).accept
        begun -= 1
        stream.puts stream.gets
        stream
      end
    end
    lines = together(20) { |number| client.then { |stream| stream.puts("line #{number}"); stream.gets } }
    [[most, serving.map(&:value).size], lines]
  RUBY

  both_ways "a handshake that is cancelled leaves the others, and closes what it should", [:cancelled, "hello\n", true], tls + <<~'RUBY'
    silent = connected
    stuck = LISTENER.accept
    waiting = go { wrapped(stuck, SERVER_CONTEXT).accept }
    one, other = pair
    one.puts "hello"
    line = other.gets
    ended = waiting.cancel
    stuck.close
    [ended, line, silent.read.empty?]
  RUBY

  both_ways "a client's handshake that gets no answer ends by its timeout, and the listener serves the next", ["Timeout::Error", "next\n"], tls + <<~'RUBY'
    late = error_of { Timeout.timeout(0.05) { client } }.class.name
    LISTENER.accept.close
    one, other = pair
    one.puts "next"
    [late, other.gets]
  RUBY

  both_ways "a read that is cancelled loses nothing: the next one reads on", [:cancelled, "a whole line\n"], tls + <<~'RUBY'
    one, other = pair
    one.write "a whole "
    reading = go { other.gets }
    20.times { sleep 0 }
    ended = reading.cancel
    one.puts "line"
    line = other.gets
    # What a cancelled gets has read is in the stream's own buffer.
    [ended, line]
  RUBY

  both_ways "a close is the other side's end, and what came before it is read", ["last words", nil, true], tls + <<~'RUBY'
    one, other = pair
    one.write "last words"
    one.close
    [other.read, other.gets, other.eof?]
  RUBY

  both_ways "the end without a farewell is an error or an end, as OpenSSL has it, and no hang", true, tls + <<~'RUBY'
    one, other = pair
    one.io.close
    seen = begin
      other.sysread(1)
    rescue EOFError, OpenSSL::SSL::SSLError, SystemCallError => e
      e
    end
    seen.is_a?(Exception)
  RUBY

  both_ways "a socket closed in one direction below TLS breaks the connection clearly", [true, true], tls + <<~'RUBY'
    one, other = pair
    asking = go { other.gets rescue $!.class }
    one.io.close_write
    ended = [nil, OpenSSL::SSL::SSLError].include?(asking.value)
    [ended, [NilClass, OpenSSL::SSL::SSLError].include?(error_of { other.puts "answer" }.class)]
  RUBY

  both_ways "a session is resumed", [false, true, "again\n"], tls + <<~'RUBY'
    context = OpenSSL::SSL::SSLContext.new.tap { |it| it.max_version = OpenSSL::SSL::TLS1_2_VERSION }
    serving = go { 2.times.map { wrapped(LISTENER.accept, SERVER_CONTEXT).accept.tap { |it| it.puts "again" } } }
    first = client(context: context)
    first.gets
    second = client(session: first.session, context: context)
    [first.session_reused?, second.session_reused?, second.gets]
  RUBY

  both_ways "a large write waits for its reader, and others run meanwhile", [true, 3_000_000], tls + <<~'RUBY'
    one, other = pair
    writing = go { other.write("x" * 3_000_000); other.close }
    ran = others_ran { go { sleep 0.01 }.value }
    read = one.read.size
    writing.value
    [ran, read]
  RUBY

  both_ways "each side writes and reads at once over one connection", [100, 100], tls + <<~'RUBY'
    one, other = pair
    [one, other].map do |stream|
      go { 100.times { |number| stream.puts "line #{number}" } }
      go { 100.times.count { |number| stream.gets == "line #{number}\n" } }
    end.map(&:value)
  RUBY

  both_ways "SSLServer accepts, and a client of another kind is refused without harm to the next", ["OpenSSL::SSL::SSLError", "served\n"], tls + <<~'RUBY'
    server = OpenSSL::SSL::SSLServer.new(LISTENER, SERVER_CONTEXT)
    plain = connected
    plain.write "GET / HTTP/1.1\r\n\r\n"
    refused = error_of { server.accept }
    serving = go { server.accept.tap { |stream| stream.puts "served" } }
    [refused.class.name, client.gets]
  RUBY

  both_ways "of three clients in the middle of their handshakes one is cancelled, and the others are served",
            [:cancelled, %W[served\n served\n], "OpenSSL::SSL::SSLError"], tls + <<~'RUBY'
    require "io/wait"
    sockets = 3.times.map { connected }
    handshakes = sockets.map { |socket| go { client(socket) } }
    peers = 3.times.map { LISTENER.accept }
    # Each has begun.
    peers.each(&:wait_readable)
    ended = handshakes[0].cancel
    sockets[0].close
    peers.drop(1).each { |peer| go { wrapped(peer, SERVER_CONTEXT).accept.puts "served" } }
    [ended, handshakes.drop(1).map { |handshake| handshake.value.gets }, error_of { wrapped(peers[0], SERVER_CONTEXT).accept }.class.name]
  RUBY

  both_ways "what a cancelled write has left goes out before the next one, nothing lost or doubled", [false, :cancelled, true], tls + <<~'RUBY'
    require "io/wait"
    one, other = pair
    [one, other].zip(%i[SNDBUF RCVBUF]) { |stream, buffer| stream.io.setsockopt(:SOCKET, buffer, 65_536) }
    # What has been read before a close is no reason to reset the connection.
    other.puts "ready"
    one.gets
    large = Array.new(200_000) { |number| "%09d\n" % number }.join
    writing = go { one.write(large) }
    ask_until { writing.over? || one.io.wait_writable(0).nil? }
    over = writing.over?
    ended = writing.cancel
    go { one.write("tail"); one.close }
    [over, ended, other.read == "#{large}tail"]
  RUBY

  both_ways "closing one side while the other fiber reads from it ends that one with an error, and the peer sees the end",
            ["IOError", true, nil], tls + <<~'RUBY'
    one, other = pair
    reading = go { one.gets }
    20.times { sleep 0 }
    one.close
    error = reading.error
    [error.class.name, error.message.include?("closed"), other.gets]
  RUBY

  both_ways "who is told that the peer ends still has what came before, and what it writes then fails clearly",
            ["answer\nmore\n", true], tls + <<~'RUBY'
    one, other = pair
    asking = go { one.puts "question"; one.read }
    other.gets
    other.puts "answer", "more"
    other.close
    answer = asking.value
    failed = error_of { 1000.times { one.puts "late"; sleep 0.001 } }
    [answer, [OpenSSL::SSL::SSLError, Errno::EPIPE, Errno::ECONNRESET].include?(failed.class)]
  RUBY
end
