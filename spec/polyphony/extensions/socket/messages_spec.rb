# frozen_string_literal: true

RSpec.describe Polyphony::Extensions::Messages do
  def udp_pair(family, host)
    left, right = closing(UDPSocket.new(family), UDPSocket.new(family))
    [left, right].each { |socket| socket.bind(host, 0) }
    left.connect(host, right.addr[1])
    [left, right]
  end

  { "IPv4" => [Socket::AF_INET, "127.0.0.1"], "IPv6" => [Socket::AF_INET6, "::1"] }.each do |name, (family, host)|
    everywhere do
      describe "datagrams over #{name}" do
        let!(:ends) { udp_pair(family, host) }
        let(:sender) { ends[0] }
        let(:receiver) { ends[1] }

        it "come with their sender, after a wait" do
          message = spin { receiver.recvmsg }
          2.times { snooze }
          sender.send("hello", 0)
          text, from, = message.await
          expect([text, from.ip_address, from.ip_port]).to eq ["hello", host, sender.addr[1]]
        end

        # The original wrote behind the end of its buffer.
        it "are cut to the length that was asked for" do
          sender.send("a datagram that is longer", 0)
          sender.send("another", 0)
          expect([receiver.recvfrom(10)[0], receiver.recv(3)]).to eq ["a datagram", "ano"]
        end

        # The original never sent one, and took one for the end.
        it "may be empty" do
          sender.send("", 0)
          sender.sendmsg("")
          sender.send("x", 0)
          expect([receiver.recvfrom(9)[0], receiver.recvmsg[0]]).to eq ["", ""]
          expect(receiver.recv_loop { |data| break data }).to eq "x"
        end

        it "can be answered with what `recvfrom` tells" do
          sender.send("ping", 0)
          message, from = receiver.recvfrom(9)
          expect(receiver.send(message.tr("i", "o"), 0, from[3], from[1])).to eq 4
          expect(sender.recv(9)).to eq "pong"
        end

        it "go to whoever waits next when a wait is cancelled" do
          victim = spin { receiver.recvmsg }
          2.times { snooze }
          victim.stop
          victim.await
          sender.send("kept", 0)
          expect(receiver.recvmsg[0]).to eq "kept"
        end

        it "are there for every way of receiving when a wait is cancelled as they come" do
          %i[recv recvfrom recvmsg].each do |name|
            victim = spin { receiver.recv(10) }
            2.times { snooze }
            sender.send("kept", 0)
            victim.stop
            victim.await
            expect([*receiver.public_send(name, 10)].first).to eq "kept"
          end
        end
      end
    end
  end

  describe "between UNIX sockets" do
    it "carries descriptors" do
      left, right = unix_pair
      reader, writer = pipe
      taking = spin { right.recvmsg(10, scm_rights: true) }
      2.times { snooze }
      left.sendmsg("one", 0, nil, Socket::AncillaryData.unix_rights(reader))
      text, _, _, control = taking.await
      taken = closing(*control.unix_rights)
      writer << "through"
      expect([text, taken.readpartial(9)]).to eq %w[one through]
    end

    it "sends and takes an IO" do
      left, right = unix_pair
      reader, writer = pipe
      taking = spin { right.recv_io }
      2.times { snooze }
      left.send_io(reader)
      writer << "through"
      expect(closing(taking.await).readpartial(9)).to eq "through"
    end

    it "says whom a message is from" do
      left, right = unix_pair
      taking = spin { right.recvfrom(10) }
      2.times { snooze }
      expect(left << "a").to equal left
      expect(taking.await).to eq ["a", ["AF_UNIX", ""]]
    end
  end

  { "a TCP connection" => :tcp_pair, "a UNIX connection" => :unix_pair }.each do |name, pair|
    describe "#recv_loop on #{name}" do
      let!(:ends) { public_send(pair) }
      let(:reader) { ends[0] }
      let(:writer) { ends[1] }

      it "yields what comes, until the peer has ended, and gives the socket" do
        spin { writer << "foobar"; writer.close }
        pieces = []
        expect(reader.recv_loop(3) { |piece| pieces << piece }).to equal reader
        expect(pieces).to eq %w[foo bar]
      end

      it "ends with a break, and with StopIteration" do
        writer << "foobar"
        expect(reader.recv_loop(3) { |piece| break piece }).to eq "foo"
        expect(reader.recv_loop(3) { raise StopIteration }).to be_nil
      end

      it "feeds a receiver" do
        writer << "foobar"
        expect(reader.recv_feed_loop(->(piece, &found) { found.call(piece.size) }) { |size| break size }).to eq 6
      end
    end
  end

  describe "accept loops" do
    it "end with a break and with StopIteration, on every listener" do
      in_directory do |directory|
        path = File.join(directory, "socket")
        plain = Socket.new(:INET, :STREAM, 0)
        plain.bind(Addrinfo.tcp("127.0.0.1", 0))
        plain.listen(5)
        listeners = [listen, UNIXServer.new(path), plain].each { |server| closing(server) }
        listeners.each do |server|
          connect = -> { server.is_a?(UNIXServer) ? UNIXSocket.new(path) : TCPSocket.new("127.0.0.1", server.local_address.ip_port) }
          client = spin { closing(connect.call) }
          accepted = server.accept_loop { |socket| break closing(socket) }
          client.await << "x"
          expect([accepted.recv(9), accepted.close_on_exec?]).to eq ["x", true]
          client = spin { closing(connect.call) }
          expect(server.accept_loop { |socket| closing(socket); raise StopIteration }).to be_nil
          client.await
        end
      end
    end

    # The original listened with no room for those who wait.
    it "take a burst of connections that came before anybody accepted" do
      server = listen
      clients = Array.new(60) { closing(TCPSocket.new("127.0.0.1", server.addr[1])) }
      taken = []
      server.accept_loop { |socket| taken << closing(socket); break if taken.size == clients.size }
      clients.each_with_index { |client, index| client << "#{index}\n" }
      expect(taken.map(&:gets).sort_by(&:to_i)).to eq(clients.each_index.map { |index| "#{index}\n" })
    end

    it "end with the error of a listener that was closed" do
      server = listen
      accepting = spin { server.accept_loop { nil } rescue $!.class }
      2.times { snooze }
      server.close
      expect(accepting.await).to eq IOError
    end
  end
end
