# frozen_string_literal: true

RSpec.describe "TLS" do
  everywhere do
    describe "a connection" do
      let!(:ends) { tls_pair }
      let(:reader) { ends[0] }
      let(:writer) { ends[1] }

      it_behaves_like "a looping stream"
      it_behaves_like "a readable io"
      it_behaves_like "a readable io that waits"
      it_behaves_like "a writable io"
      it_behaves_like "a writable io that waits" do
        # OpenSSL takes its time over long strings.
        let(:room) { 1_500_000 }
        before { %i[SNDBUF RCVBUF].product(ends) { |name, io| io.to_io.setsockopt(:SOCKET, name, 65_536) } }
      end

      it "lets others run until something comes" do
        line = spin { reader.gets }
        2.times { snooze }
        writer.puts "late"
        expect(line.await).to eq "late\n"
      end

      it "carries what does not fit at once, both ways at a time" do
        data = random.bytes(1_000_000)
        sending = [spin { writer.write(data) }, spin { reader.write(data) }]
        expect([reader.read(data.bytesize) == data, writer.read(data.bytesize) == data]).to eq [true, true]
        expect(sending.map(&:await)).to eq [data.bytesize, data.bytesize]
      end

      it "can be read on after a read was cancelled" do
        victim = spin { reader.readpartial(9) }
        2.times { snooze }
        victim.stop
        victim.await
        writer << "kept"
        expect(reader.readpartial(9)).to eq "kept"
      end

      it "says EOFError where a reader must have something" do
        writer.close
        expect { reader.readpartial(1) }.to raise_error EOFError
        expect([reader.gets, reader.read(1)]).to eq [nil, nil]
      end

      it "has its options set by name" do
        expect(reader.no_delay.dont_linger.reuse_addr).to equal reader
        expect(reader.to_io.getsockopt(:TCP, :NODELAY).bool).to be true
      end
    end
  end

  describe "OpenSSL::SSL::SSLServer#accept_loop" do
    let!(:listener) { tls_server }
    let(:server) { listener[0] }
    let(:port) { listener[1] }

    def shout(socket)
      socket.gets_loop { |line| socket << line.upcase }
    ensure
      socket.close
    end

    def over(server, **options)
      serving = spin { server.accept_loop(**options) { |socket| spin { shout(socket) } } }
      yield
    ensure
      serving.stop
      serving.await
    end

    # The original waited for it in the handshake, and so did every fiber of the thread.
    it "serves others while a client says nothing" do
      over(server) do
        silent = Array.new(3) { closing(TCPSocket.new("127.0.0.1", port)) }
        client = tls_client(port)
        client.puts "hello"
        expect(client.gets).to eq "HELLO\n"
        client.close
        silent.each(&:close)
      end
    end

    it "passes over clients that speak something else" do
      over(server) do
        plain = closing(TCPSocket.new("127.0.0.1", port))
        plain << "GET / HTTP/1.0\r\n\r\n"
        expect((plain.read rescue "reset")).not_to start_with "HTTP"
        client = tls_client(port)
        client.puts "hello"
        expect(client.gets).to eq "HELLO\n"
        client.close
      end
    end

    it "raises what a handshake raises where that is asked for" do
      accepting = spin { server.accept_loop(ignore_errors: false) { nil } rescue $!.class }
      plain = closing(TCPSocket.new("127.0.0.1", port))
      plain << "GET / HTTP/1.0\r\n\r\n"
      expect(accepting.await).to eq OpenSSL::SSL::SSLError
    end

    it "ends with a break, which gives its value, and closes what nobody took" do
      accepting = spin { server.accept_loop { |socket| break closing(socket).gets } }
      silent = closing(TCPSocket.new("127.0.0.1", port))
      tls_client(port).puts "hello"
      expect(accepting.await).to eq "hello\n"
      expect(silent.read).to eq ""
    end

    it "gives up a client that says nothing when its time is up" do
      accepting = spin { server.accept_loop(ignore_errors: false, handshake_limit: 0.002) { nil } rescue $!.class }
      silent = closing(TCPSocket.new("127.0.0.1", port))
      expect(accepting.await).to eq Errno::ETIMEDOUT
      expect(silent.read).to eq ""
    end

    it "gives up the oldest of too many that say nothing, and serves who speaks" do
      over(server, handshakes: 3, handshake_limit: nil) do
        silent = Array.new(3) { closing(TCPSocket.new("127.0.0.1", port)) }
        client = tls_client(port)
        client.puts "hello"
        expect([client.gets, silent.first.read]).to eq ["HELLO\n", ""]
        client.close
        silent.each(&:close)
      end
    end

    it "serves all of a crowd, however few may shake hands at once" do
      over(server, handshakes: 2) do
        clients = Array.new(12) { |number| spin { tls_client(port).then { |client| client.puts "a#{number}"; client.gets.tap { client.close } } } }
        expect(clients.map(&:await)).to eq Array.new(12) { |number| "A#{number}\n" }
      end
    end

    it "accepts no more than may wait while nobody takes them" do
      busy = Queue.new
      served = []
      accepting = spin { server.accept_loop(handshakes: 2) { |socket| busy.shift; served << closing(socket).gets; break served if served.size == 8 } }
      clients = Array.new(8) { spin { tls_client(port).puts "x" } }
      snooze until clients.count(&:dead?) >= 3 && accepting.children.first.children.empty?
      expect(clients.count(&:dead?)).to be <= 5
      8.times { busy << :go }
      expect(accepting.await).to eq ["x\n"] * 8
      clients.each(&:await)
    end

    it "leaves the handshake to the block where it is not to start by itself" do
      server.start_immediately = false
      accepting = spin { server.accept_loop { |socket| break closing(socket).accept.gets } }
      tls_client(port).puts "hello"
      expect(accepting.await).to eq "hello\n"
    end

    it "takes no nonsense for a number of handshakes" do
      expect { server.accept_loop(handshakes: 0) { nil } }.to raise_error ArgumentError
    end

    it "ends with the error of a listener that was closed" do
      accepting = spin { server.accept_loop { nil } rescue $!.class }
      3.times { snooze }
      server.close
      expect(accepting.await).to eq IOError
    end
  end

  it "may wait in the callback that chooses a certificate by name" do
    names = []
    context = server_context
    context.servername_cb = ->((_, name)) { sleep 0.001; names << name; nil }
    server, port = tls_server(context)
    accepting = spin { closing(server.accept).gets }
    tls_client(port).puts "hello"
    expect([accepting.await, names]).to eq ["hello\n", ["localhost"]]
  end

  it "accepts without a handshake where that is not to start by itself, as ever" do
    server, port = tls_server
    server.start_immediately = false
    closing(TCPSocket.new("127.0.0.1", port))
    silent = closing(server.accept)
    client = spin { tls_client(port).tap { |socket| socket.puts "hello" } }
    expect(closing(server.accept).accept.gets).to eq "hello\n"
    client.await
    expect(silent.state).to include "before"
  end

  it "ends a handshake that is cancelled, and the server goes on" do
    server, port = tls_server
    silent = closing(TCPSocket.new("127.0.0.1", port))
    expect(move_on_after(0.01, with_value: :late) { server.accept }).to eq :late
    accepting = spin { closing(server.accept).gets }
    tls_client(port).puts "hello"
    expect(accepting.await).to eq "hello\n"
    silent.close
  end
end
