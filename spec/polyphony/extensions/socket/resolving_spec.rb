# frozen_string_literal: true

RSpec.describe Polyphony::Extensions::Resolving do
  LOOKUPS = {
    "Addrinfo.tcp" => -> { Addrinfo.tcp("localhost", 80).ip_port }, "Addrinfo.udp" => -> { Addrinfo.udp("localhost", 53).ip_port },
    "Addrinfo.ip" => -> { Addrinfo.ip("localhost").ip? }, "Addrinfo.getaddrinfo" => -> { Addrinfo.getaddrinfo("localhost", 80, nil, :STREAM).first.ip_port },
    "Socket.getaddrinfo" => -> { Socket.getaddrinfo("localhost", 80, nil, :STREAM).first[1] },
    "Socket.getaddrinfo, reversed" => -> { Socket.getaddrinfo("127.0.0.1", 80, nil, :STREAM, nil, nil, true).first[2].empty? },
    "Socket.getnameinfo" => -> { Socket.getnameinfo(["AF_INET", 80, "127.0.0.1"]).size },
    "IPSocket.getaddress" => -> { IPSocket.getaddress("localhost").empty? }
  }.freeze

  everywhere do
    LOOKUPS.each do |name, lookup|
      it "answers as stock Ruby does: #{name}" do
        stock = Thread.new(&lookup).value
        Polyphony.scheduler!
        expect(lookup.call).to eq stock
      end
    end

    it "raises as stock Ruby does" do
      Polyphony.scheduler!
      expect { Addrinfo.tcp("localhost", "no such service") }.to raise_error SocketError
    end
  end

  it "resolves names in another thread, so that others run; numbers at once" do
    ready = spin { :ran }
    Addrinfo.tcp("127.0.0.1", 80)
    Addrinfo.tcp("::1", 80)
    expect(ready).not_to be_dead
    Addrinfo.tcp("localhost", 80)
    expect(ready.await).to eq :ran
    expect(Polyphony::Elsewhere.idle).not_to be_empty
  end

  # Letters of hexadecimal numbers make names, too.
  it "takes a name for a name" do
    expect(["face.de", "cafe", "localhost", "10.0.0.1", "::1", "fe80::1%lo", "", nil].map { |host| described_class.numeric?(host) })
      .to eq [false, false, false, true, true, true, true, true]
  end
end
