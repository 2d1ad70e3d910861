# frozen_string_literal: true

require_relative "../support/software"

RSpec.describe "socket" do
  software "socket", requires: %w[socket tmpdir]

  both_ways "TCP, IPv6 and UNIX: ten clients are connected before the first is answered", [10] * 3, <<~'RUBY'
    directory = Dir.mktmpdir
    listeners = [TCPServer.new("127.0.0.1", 0), TCPServer.new("::1", 0), UNIXServer.new("#{directory}/socket")]
    listeners.map do |listener|
      serving = go do
        clients = 10.times.map { listener.accept }
        clients.each { |client| client.puts client.gets }
      end
      answers = together(10) do |number|
        address = listener.local_address
        socket = address.unix? ? UNIXSocket.new(address.unix_path) : TCPSocket.new(address.ip_address, address.ip_port)
        socket.puts number
        socket.gets.to_i == number
      end
      serving.value
      answers.count(true)
    end
  RUBY

  both_ways "UDP datagrams keep their edges and tell who sent them", [%w[one two], true], <<~'RUBY'
    receiver = UDPSocket.new.tap { |it| it.bind("127.0.0.1", 0) }
    sender = UDPSocket.new.tap { |it| it.connect("127.0.0.1", receiver.addr[1]) }
    hearing = go { 2.times.map { receiver.recvfrom(100) } }
    sender.send("one", 0)
    sender.send("two", 0)
    heard = hearing.value
    [heard.map(&:first), heard.all? { |_, from| from[1] == sender.addr[1] }]
  RUBY

  both_ways "Socket connects, accepts, sends and receives messages; Addrinfo connects and listens", ["hello", "ad", "through"], <<~'RUBY'
    listener = Socket.new(:INET, :STREAM).tap { |it| it.bind(Addrinfo.tcp("127.0.0.1", 0)); it.listen(5) }
    # The drop-in's Socket#accept gives a TCPSocket, as Polyphony 1's did.
    accepted = ->(from) { from.accept.then { |it| it.is_a?(Array) ? it.first : it } }
    accepting = go { accepted[listener] }
    client = Socket.new(:INET, :STREAM)
    client.connect(listener.local_address)
    server = accepting.value
    reading = go { server.recvmsg.first }
    client.sendmsg("hello")
    one, other = UNIXSocket.pair(:DGRAM)
    receiving = go { other.recv(10) }
    one.send("ad", 0)
    passing = go { Addrinfo.tcp("127.0.0.1", 0).listen { |it| address = it.local_address; go { address.connect { |socket| socket.write "through" } }; accepted[it].read } }
    [reading.value, receiving.value, passing.value]
  RUBY

  both_ways "a descriptor travels to another fiber", "from the file", <<~'RUBY'
    one, other = UNIXSocket.pair
    receiving = go { other.recv_io.read }
    reader, writer = IO.pipe
    writer << "from the file"
    writer.close
    one.send_io(reader)
    receiving.value
  RUBY

  both_ways "an accept that is cancelled takes no connection that comes later, a read that is cancelled no byte", [:cancelled, :cancelled, "hello\n"], <<~'RUBY'
    listener = TCPServer.new("127.0.0.1", 0)
    accepting = go { listener.accept }
    sleep 0
    first = accepting.cancel
    client = TCPSocket.new("127.0.0.1", listener.addr[1])
    server = listener.accept
    reading = go { server.readpartial(10) }
    sleep 0
    second = reading.cancel
    client.puts "hello"
    [first, second, server.gets]
  RUBY

  both_ways "recvfrom, recv_io and a large write are cancelled at once: what comes later is for the next", [[false] * 3, [:cancelled] * 3, "late", "from the file", true], <<~'RUBY'
    udp = UDPSocket.new.tap { |it| it.bind("127.0.0.1", 0) }
    one, other = UNIXSocket.pair
    full, far = UNIXSocket.pair
    large = "x" * 3_000_000
    jobs = [go { udp.recvfrom(10) }, go { one.recv_io }, go { full.write(large) }]
    50.times { sleep 0 }
    waited = jobs.map(&:over?)
    ended = jobs.map(&:cancel)
    UDPSocket.new.send("late", 0, "127.0.0.1", udp.addr[1])
    reader, writer = IO.pipe
    writer << "from the file"
    writer.close
    other.send_io(reader)
    full.close
    [waited, ended, udp.recvfrom(10).first, one.recv_io.read, far.read.size < large.size]
  RUBY

  both_ways "a connection attempt that is cancelled leaves the others", [false, :cancelled, "hello\n"], <<~'RUBY'
    listener = Socket.new(:INET, :STREAM).tap { |it| it.bind(Addrinfo.tcp("127.0.0.1", 0)); it.listen(0) }
    address = listener.local_address
    # No room in the line: who comes next waits.
    filling = 3.times.map { Socket.new(:INET, :STREAM).tap { |it| it.connect_nonblock(address, exception: false) } }
    stuck = go { TCPSocket.new("127.0.0.1", address.ip_port) }
    50.times { sleep 0 }
    waited = stuck.over?
    ended = stuck.cancel
    listener.close
    another = TCPServer.new("127.0.0.1", 0)
    serving = go { another.accept.puts "hello" }
    [waited, ended, TCPSocket.new("127.0.0.1", another.addr[1]).gets]
  RUBY

  both_ways "a socket closed by another fiber ends who reads from it, as stock has it", ["IOError", true], <<~'RUBY', **(RUBY_VERSION < "4.0" ? { only: "drop-in", because: "before 4.0 Ruby tells no scheduler of a close" } : {})
    one, other = UNIXSocket.pair
    reading = go { one.read(1) }
    sleep 0
    one.close
    error = reading.error
    [error.class.name, error.message.include?("closed")]
  RUBY
end
