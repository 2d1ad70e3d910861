# frozen_string_literal: true

RSpec.describe Polyphony::Extensions::Dialing do
  # Look-ups that a block answers, where there is one.
  module Answers
    class << self
      attr_accessor :given
    end

    def addresses(*arguments) = Answers.given ? Answers.given.call(*arguments) : super
  end
  Polyphony::Extensions::Resolving.singleton_class.prepend(Answers)

  def resolving(answer)
    Answers.given = answer
    yield
  ensure
    Answers.given = nil
  end

  def only_ipv4(*hosts)
    lambda do |_, port, family = nil|
      raise SocketError, "getaddrinfo: Name or service not known" if family == Socket::AF_INET6

      hosts.map { |host| Addrinfo.tcp(host, port) }
    end
  end

  # A listener whose backlog is full: who connects to it waits.
  def silent(port = 0, host = "127.0.0.2")
    listener = Socket.new(:INET, :STREAM)
    listener.setsockopt(:SOCKET, :REUSEADDR, true)
    listener.bind(Addrinfo.tcp(host, port))
    listener.listen(0)
    fillers = Array.new(3) do
      Socket.new(:INET, :STREAM).tap { |filler| filler.connect_nonblock(listener.local_address, exception: false) }
    end
    yield listener.local_address.ip_port
  ensure
    [listener, *fillers].compact.each(&:close)
  end

  def turns_during
    turns = 0
    ticker = spin { loop { turns += 1; snooze } }
    yield
    turns
  ensure
    ticker.stop
    ticker.await
  end

  ways = {
    "TCPSocket.new" => ->(port, **options) { TCPSocket.new("name.test", port, **options) },
    "TCPSocket.open" => ->(port, **options) { TCPSocket.open("name.test", port, **options) },
    "Socket.tcp" => ->(port, **options) { Socket.tcp("name.test", port, **options) },
    "Polyphony::Net.tcp_connect" => ->(port, **) { Polyphony::Net.tcp_connect("name.test", port) }
  }

  everywhere "the main fiber", "a spun fiber" do
    before { Polyphony.scheduler! }

    ways.each do |name, dial|
      it "reaches the address that answers beside one that does not: #{name}" do
        silent do |port|
          server = Socket.tcp_server_sockets("127.0.0.1", port).first
          resolving(only_ipv4("127.0.0.2", "127.0.0.1")) do
            socket = dial.call(port)
            expect(socket.remote_address.ip_address).to eq "127.0.0.1"
            socket.close
          end
        ensure
          server&.close
        end
      end

      it "lets others run while no name server answers, and a deadline ends the wait: #{name}" do
        never = ->(*) { Polyphony.elsewhere { Queue.new.pop } }
        resolving(never) do
          result = nil
          turns = turns_during { result = move_on_after(0.05, with_value: :late) { dial.call(80) } }
          expect([result, turns > 2]).to eq [:late, true]
        end
      end
    end

    it "goes on with IPv4 while nothing is said about IPv6" do
      server = TCPServer.new("127.0.0.1", 0)
      half = ->(_, port, family = nil) { family == Socket::AF_INET6 ? suspend : [Addrinfo.tcp("127.0.0.1", port)] }
      resolving(half) do
        socket = TCPSocket.new("name.test", server.addr[1])
        expect(socket.peeraddr[3]).to eq "127.0.0.1"
        socket.close
      end
    ensure
      server.close
    end

    it "takes turns between the families, IPv6 first" do
      tried = []
      both = lambda do |_, port, family = nil|
        family == Socket::AF_INET6 ? %w[::1 ::1].map { |host| Addrinfo.tcp(host, port) } : [Addrinfo.tcp("127.0.0.1", port)]
      end
      server = TCPServer.new("127.0.0.1", 0)
      port = server.addr[1]
      server.close
      dialing = described_class.new("name.test", port)
      dialing.define_singleton_method(:attempt) { |address| tried << address.ip_address; super(address) }
      resolving(both) { expect { dialing.connect }.to raise_error Errno::ECONNREFUSED }
      expect(tried).to eq ["::1", "127.0.0.1", "::1"]
    end

    it "gives each attempt its time" do
      silent do |port|
        resolving(only_ipv4("127.0.0.2")) do
          expect { TCPSocket.new("name.test", port, connect_timeout: 0.02) }
            .to raise_error Errno::ETIMEDOUT, /user specified timeout/
        end
      end
    end

    it "gives look-ups their time" do
      resolving(->(*) { suspend }) do
        expect { TCPSocket.new("name.test", 80, resolv_timeout: 0.02) }.to raise_error Errno::ETIMEDOUT
      end
    end

    it "raises what the last attempt or the look-up raised" do
      resolving(only_ipv4("127.0.0.1")) do
        expect { TCPSocket.new("name.test", 1) }.to raise_error Errno::ECONNREFUSED, /for "name.test" port 1/
        expect { Socket.tcp("name.test", 1) }.to raise_error Errno::ECONNREFUSED, /connect\(2\) for 127.0.0.1:1/
      end
      resolving(->(*) { raise SocketError, "unknown" }) do
        expect { TCPSocket.new("name.test", 1) }.to raise_error SocketError, "unknown"
      end
    end

    it "connects from where it is told to" do
      server = TCPServer.new("127.0.0.1", 0)
      resolving(->(host, port, family = nil) { host == "name.test" ? only_ipv4("127.0.0.1").call(host, port, family) : [Addrinfo.tcp(host, port)] }) do
        socket = TCPSocket.new("name.test", server.addr[1], "127.0.0.3")
        expect(socket.local_address.ip_address).to eq "127.0.0.3"
        socket.close
        expect(Socket.tcp("name.test", server.addr[1], "127.0.0.4") { |given| given.local_address.ip_address }).to eq "127.0.0.4"
      end
    ensure
      server.close
    end
  end
end
