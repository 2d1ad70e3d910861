# frozen_string_literal: true

# A certificate for localhost, made once, and contexts that use it.
module TLS
  class << self
    def certificate
      @certificate ||= begin
        require "openssl"
        made = OpenSSL::X509::Certificate.new
        made.version = 2
        made.serial = 1
        made.subject = made.issuer = OpenSSL::X509::Name.parse("/CN=localhost")
        made.public_key = key
        made.not_before = Time.now - 3600
        made.not_after = Time.now + 86_400
        made.add_extension(OpenSSL::X509::ExtensionFactory.new.create_extension("subjectAltName", "DNS:localhost,IP:127.0.0.1,IP:::1"))
        made.sign(key, OpenSSL::Digest.new("SHA256"))
      end
    end

    def key
      @key ||= OpenSSL::PKey::EC.generate("prime256v1")
    end
  end

  def server_context
    certificate = TLS.certificate
    OpenSSL::SSL::SSLContext.new.tap { |context| context.cert, context.key = certificate, TLS.key }
  end

  # One that trusts the certificate.
  def client_context
    store = OpenSSL::X509::Store.new.add_cert(TLS.certificate)
    OpenSSL::SSL::SSLContext.new.tap { |context| context.verify_mode, context.cert_store = OpenSSL::SSL::VERIFY_PEER, store }
  end

  # A listener, and its port.
  def tls_server(context = server_context)
    Polyphony.scheduler!
    server = closing(OpenSSL::SSL::SSLServer.new(TCPServer.new("127.0.0.1", 0), context))
    [server, server.to_io.addr[1]]
  end

  def tls_client(port, context = client_context)
    socket = OpenSSL::SSL::SSLSocket.new(TCPSocket.new("127.0.0.1", port), context)
    socket.sync_close = true
    socket.hostname = "localhost"
    closing(socket.connect)
  end

  # A connected pair of TLS sockets: the client's side and the server's.
  def tls_pair
    server, port = tls_server
    accepting = spin { closing(server.accept) }
    client = tls_client(port)
    [client, accepting.await]
  end
end
