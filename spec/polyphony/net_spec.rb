# frozen_string_literal: true

RSpec.describe Polyphony::Net do
  { "IPv4" => "127.0.0.1", "IPv6" => "::1" }.each do |name, host|
    it "connects and listens over #{name}" do
      server = closing(described_class.tcp_listen(host, 0, reuse_addr: true, dont_linger: true, reuse_port: true, backlog: 5))
      client = spin { closing(described_class.tcp_connect(host, server.local_address.ip_port)) }
      accepted = closing(server.accept)
      expect([accepted.class, client.await.class]).to eq [TCPSocket, TCPSocket]
      client.await << "hello\n"
      expect([accepted.gets, server.getsockopt(:SOCKET, :REUSEADDR).bool]).to eq ["hello\n", true]
    end
  end

  it "speaks TLS where that is asked for, and the protocol that both know" do
    server = closing(described_class.tcp_listen("127.0.0.1", 0, secure_context: server_context, alpn_protocols: %w[h2 http/1.1]))
    expect(server).to be_a OpenSSL::SSL::SSLServer
    accepting = spin { closing(server.accept) }
    port = server.to_io.local_address.ip_port
    client = closing(described_class.tcp_connect("localhost", port, secure_context: client_context, alpn_protocols: %w[http/1.1]))
    client.puts "hello"
    expect([accepting.await.gets, client.alpn_protocol]).to eq ["hello\n", "http/1.1"]
  end

  it "uses one context for many connections" do
    server = closing(described_class.tcp_listen("127.0.0.1", 0, secure_context: server_context, alpn_protocols: %w[h2]))
    options = { secure_context: client_context, alpn_protocols: %w[h2] }
    port = server.to_io.local_address.ip_port
    chosen = Array.new(2) do
      accepting = spin { closing(server.accept) }
      client = closing(described_class.tcp_connect("127.0.0.1", port, options))
      accepting.await
      client.alpn_protocol
    end
    expect(chosen).to eq %w[h2 h2]
  end

  it "does not trust a stranger, and leaves no socket behind" do
    server = closing(described_class.tcp_listen("127.0.0.1", 0, secure_context: server_context))
    serving = spin { server.accept rescue $!.class }
    port = server.to_io.local_address.ip_port
    expect { described_class.tcp_connect("localhost", port, secure: true) }.to raise_error OpenSSL::SSL::SSLError, /certificate verify failed/
    expect(serving.await).to eq OpenSSL::SSL::SSLError
  end

  it "refuses to listen nowhere" do
    expect { described_class.tcp_listen("127.0.0.1") }.to raise_error ArgumentError, "Port number not specified"
    taken = closing(described_class.tcp_listen("127.0.0.1", 0))
    expect { described_class.tcp_listen("127.0.0.1", taken.local_address.ip_port) }.to raise_error Errno::EADDRINUSE
  end

  it "raises what a connection that is refused raises" do
    port = listen.tap(&:close).then { |server| server.closed? && TCPServer.open("127.0.0.1", 0) { |other| other.addr[1] } }
    expect { described_class.tcp_connect("127.0.0.1", port) }.to raise_error Errno::ECONNREFUSED
  end
end
