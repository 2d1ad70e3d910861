# frozen_string_literal: true

# HTTPS for two names on one port: the client says which one it wants (SNI) and gets that one's certificate.
#
#     ruby https_sni_server.rb [PORT]
#     curl -k --resolve one.test:PORT:127.0.0.1 https://one.test:PORT/
require "polyphony"
require "openssl"
require "socket"

# A context with a self-signed certificate, good for an hour.
def context_for(name)
  key = OpenSSL::PKey::EC.generate("prime256v1")
  certificate = OpenSSL::X509::Certificate.new
  certificate.version = 2
  certificate.serial = 1
  certificate.subject = certificate.issuer = OpenSSL::X509::Name.parse("/CN=#{name}")
  certificate.public_key = key
  certificate.not_before = Time.now - 60
  certificate.not_after = Time.now + 3600
  certificate.sign(key, OpenSSL::Digest.new("SHA256"))
  OpenSSL::SSL::SSLContext.new.tap { |context| context.cert, context.key = certificate, key }
end

def serve(socket)
  request = socket.gets
  socket.gets_loop { |header| break if header == "\r\n" }
  body = "#{socket.cert.subject} got #{request.split[1]}\n"
  socket.write "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}"
rescue SystemCallError, OpenSSL::SSL::SSLError
  # The client went away in the middle.
ensure
  socket.close
end

$stdout.sync = true

begin
  contexts = %w[one.test two.test].to_h { |name| [name, context_for(name)] }
  context = context_for("localhost")
  context.servername_cb = ->((_socket, name)) { contexts[name] }

  listener = TCPServer.new("127.0.0.1", ARGV.fetch(0, 0))
  server = OpenSSL::SSL::SSLServer.new(listener, context)
  puts "listening on 127.0.0.1:#{listener.addr[1]}"
  server.accept_loop { |socket| spin { serve(socket) } }
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
