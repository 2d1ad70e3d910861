# frozen_string_literal: true

require "tmpdir"

RSpec.describe BasicSocket do
  everywhere do
    sockets

    it "lets others run while recvfrom waits, and gives what an earlier read left" do
      left, right = UNIXSocket.pair
      [tcp_pair, [left, right]].each do |reader, writer|
        spin { writer.write("line\nrest") }
        expect([reader.gets, reader.recvfrom(9).first]).to eq %W[line\n rest]
        spin { writer.write("sent") }
        expect(reader.recvfrom(9).first).to eq "sent"
      end
      [left, right].each(&:close)
    end

    it "lets others run while sysaccept waits" do
      listener = closing(Socket.new(:INET, :STREAM))
      listener.bind(Addrinfo.tcp("127.0.0.1", 0))
      listener.listen(1)
      path = File.join(Dir.tmpdir, "polyphony-#{Process.pid}-#{random.rand(1 << 60)}")
      [
        [listen, ->(server) { TCPSocket.new("127.0.0.1", server.addr[1]) }],
        [listener, ->(server) { TCPSocket.new("127.0.0.1", server.local_address.ip_port) }],
        [closing(UNIXServer.new(path)), ->(*) { UNIXSocket.new(path) }]
      ].each do |server, visit|
        visiting = spin { 2.times { snooze }; closing(visit.call(server)) }
        descriptor, address = server.sysaccept
        expect([closing(IO.for_fd(descriptor)).close_on_exec?, address]).to match [true, server.equal?(listener) ? an_instance_of(Addrinfo) : nil]
        visiting.await
      end
      File.unlink(path)
    end

    describe "a Socket's accept" do
      let(:server) { closing(Socket.new(:INET, :STREAM)).tap { |socket| socket.bind(Addrinfo.tcp("127.0.0.1", 0)); socket.listen(9) } }
      let!(:client) { closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port)) }

      before { Polyphony.scheduler! }

      it "gives a TCPSocket, which answers as one" do
        accepted = closing(server.accept)
        expect([accepted.class, accepted.respond_to?(:to_ary)]).to eq [TCPSocket, false]
        client << "line\n"
        expect(accepted.gets).to eq "line\n"
        expect { accepted.unheard_of }.to raise_error NoMethodError
      end

      it "gives a Socket and an Addrinfo to who asks for two, and one of them closes" do
        socket, address = server.accept
        expect([socket.class, address.inspect_sockaddr]).to eq [Socket, client.local_address.inspect_sockaddr]
        GC.start
        client << "line\n"
        expect(socket.gets).to eq "line\n"
        socket.close
        expect(client.read).to eq ""
      end

      it "gives one of the two to who names it" do
        expect(server.accept[1]).to be_an_instance_of(Addrinfo)
      end
    end

    # What is raised in a thread comes wherever a Ruby method ends: one between the kernel and who calls would lose the
    # connection, its descriptor too.
    it "accepts without a Ruby method in between" do
      accepts = [TCPServer, UNIXServer, Socket].map { |listener| listener.instance_method(:accept) }
      expect(accepts.map { |method| [method.owner.name, method.source_location] })
        .to eq %w[TCPServer UNIXServer Socket].map { |name| ["Polyphony::Extensions::#{name}", nil] }
    end

    it "leaves a connection that a TCPServer accepted in one piece" do
      server = listen
      closing(TCPSocket.new("127.0.0.1", server.addr[1]))
      first, second = server.accept
      expect([closing(first).class, second]).to eq [TCPSocket, nil]
    end

    it "has connections wait that nobody has accepted yet" do
      server = listen
      clients = Array.new(100) { closing(Socket.new(:INET, :STREAM)) }
      clients.each { |client| client.connect_nonblock(server.local_address, exception: false) }
      expect(clients.each { closing(server.accept) }.size).to eq 100
    end
  end

  # What Ruby's library makes of `accept`, `select` and datagrams.
  describe "the loops of Socket" do
    def free_port = listen.then { |server| server.addr[1].tap { server.close } }

    # Until somebody listens.
    def visit(port)
      yield
    rescue Errno::ECONNREFUSED, Errno::ENOENT
      snooze
      retry
    end

    it "let others run while they wait: TCP" do
      port = free_port
      serving = spin { Socket.tcp_server_loop("127.0.0.1", port) { |client, address| break [closing(client).gets, address.class] } }
      visit(port) { closing(TCPSocket.new("127.0.0.1", port)) << "hello\n" }
      expect(serving.await).to eq ["hello\n", Addrinfo]
    end

    it "let others run while they wait: UDP" do
      port = UDPSocket.new.then { |socket| socket.bind("127.0.0.1", 0); socket.addr[1].tap { socket.close } }
      serving = spin { Socket.udp_server_loop("127.0.0.1", port) { |message, source| source.reply(message.upcase) } }
      client = closing(UDPSocket.new)
      client.connect("127.0.0.1", port)
      answer = visit(port) { client.send("hello", 0); client.recv(9) }
      serving.stop
      serving.await
      expect(answer).to eq "HELLO"
    end

    it "let others run while they wait: UNIX" do
      path = File.join(Dir.tmpdir, "polyphony-#{Process.pid}-#{random.rand(1 << 60)}")
      serving = spin { Socket.unix_server_loop(path) { |client, _| break closing(client).gets } }
      visit(path) { closing(UNIXSocket.new(path)) << "hello\n" }
      expect(serving.await).to eq "hello\n"
    end
  end

  it "connects, binds and listens by an Addrinfo" do
    server = listen
    address = Addrinfo.tcp("127.0.0.1", server.addr[1])
    greeted = [
      -> { address.connect }, -> { address.connect_from("127.0.0.1", 0) }, -> { Addrinfo.tcp("127.0.0.1", 0).connect_to("127.0.0.1", server.addr[1]) }
    ].map do |connect|
      serving = spin { server.accept.then { |client| client << "hello"; client.close } }
      closing(connect.call).read.tap { serving.await }
    end
    expect(greeted).to eq %w[hello] * 3
    Addrinfo.tcp("127.0.0.1", 0).listen do |listener|
      spin { closing(TCPSocket.new("127.0.0.1", listener.local_address.ip_port)) << "hello\n" }
      expect(closing(listener.accept).gets).to eq "hello\n"
    end
  end

  # Where something was buffered, `recv` with MSG_PEEK took it.
  everywhere do
    it "leaves what earlier reads have buffered to who peeks" do
      left, right = closing(*UNIXSocket.pair)
      right << "abcd"
      left.getc
      peeked = [left.recv(2, Socket::MSG_PEEK), left.recv_nonblock(2, Socket::MSG_PEEK), left.recvfrom(2, Socket::MSG_PEEK).first]
      expect([peeked, left.recv(9)]).to eq [%w[bc bc bc], "bcd"]
    end
  end

  it "is itself what Polyphony 1 kept behind a TCPSocket" do
    expect(tcp_pair).to all(satisfy { |socket| socket.io.equal?(socket) })
  end
end
