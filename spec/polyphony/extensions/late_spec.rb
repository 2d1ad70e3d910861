# frozen_string_literal: true

RSpec.describe Polyphony::Extensions::Late do
  ECHO = <<~'RUBY'
    key = OpenSSL::PKey::EC.generate("prime256v1")
    certificate = OpenSSL::X509::Certificate.new
    certificate.subject = certificate.issuer = OpenSSL::X509::Name.parse("/CN=localhost")
    certificate.public_key, certificate.not_before, certificate.not_after = key, Time.now - 60, Time.now + 60
    certificate.sign(key, OpenSSL::Digest.new("SHA256"))
    context = OpenSSL::SSL::SSLContext.new
    context.cert, context.key = certificate, key
    server = OpenSSL::SSL::SSLServer.new(TCPServer.new("127.0.0.1", 0), context)
    client = spin { OpenSSL::SSL::SSLSocket.new(TCPSocket.new("127.0.0.1", server.to_io.addr[1])).connect.puts "through" }
    puts server.accept_loop { |socket| break socket.gets }
    client.await
  RUBY

  it "is not done by Polyphony, and works in any order" do
    expect(Child.ruby!("p $LOADED_FEATURES.grep(/openssl/); spin { p defined?(OpenSSL) }.await")).to eq "[]\nnil\n"
    expect(Child.ruby!("require 'openssl'; #{ECHO}")).to eq "through\n"
    expect(Child.ruby!("Polyphony.scheduler!; require 'openssl'; #{ECHO}")).to eq "through\n"
    expect(Child.ruby!("require 'openssl'; require 'polyphony'; #{ECHO}", loaded: nil, before: ["env", "RUBYLIB=#{Child::LIBRARY}"])).to eq "through\n"
    expect(Child.ruby!("require 'polyphony/extensions/openssl'; #{ECHO}", loaded: nil, before: ["env", "RUBYLIB=#{Child::LIBRARY}"])).to eq "through\n"
  end

  it "leaves what others promise to load to them" do
    expect(Child.ruby!("autoload :OpenSSL, 'openssl'; Polyphony.scheduler!; p $LOADED_FEATURES.grep(/openssl/); #{ECHO}")).to eq "[]\nthrough\n"
  end
end
