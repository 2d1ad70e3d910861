# frozen_string_literal: true

# What every socket does; `left` and `right` are connected, `stream?` tells whether messages run together.
RSpec.shared_examples "a socket" do
  it "sends and receives, both ways" do
    expect([left.send("there", 0), right.recv(10), right.send("back", 0), left.recv(10)]).to eq [5, "there", 4, "back"]
  end

  it "lets others run until something comes" do
    waiting = spin { right.recv(10) }
    2.times { snooze }
    expect(waiting).to be_alive
    left.send("late", 0)
    expect(waiting.await).to eq "late"
  end

  it "can be read and written as any IO" do
    expect([left.write("written"), right.readpartial(20), right.syswrite("again"), left.sysread(20)]).to eq [7, "written", 5, "again"]
  end

  it "can be looked into without taking" do
    left.send("kept", 0)
    expect([right.recv(2, Socket::MSG_PEEK), right.recv(10)]).to eq %w[ke kept]
  end

  it "fills a string of one's own" do
    left.send("message", 0)
    buffer = +"what was there before"
    expect(right.recv(10, 0, buffer)).to equal buffer
    expect(buffer).to eq "message"
  end

  it "says that there is nothing, where it is not to wait" do
    expect([right.recv_nonblock(1, exception: false), right.recvmsg_nonblock(exception: false)]).to eq %i[wait_readable wait_readable]
    expect { right.recv_nonblock(1) }.to raise_error IO::WaitReadable
    left.send("now", 0)
    IO.select([right])
    expect(right.recv_nonblock(10)).to eq "now"
  end

  it "sends and receives messages with all that belongs to them" do
    expect(left.sendmsg("message")).to eq 7
    text, from, flags, *control = right.recvmsg
    expect([text, from.class, flags.class, control]).to eq ["message", Addrinfo, Integer, []]
    expect([left.sendmsg("more"), right.recvfrom(10).first]).to eq [4, "more"]
  end

  it "knows its ends and its options" do
    expect(left.local_address.to_sockaddr).to eq right.remote_address.to_sockaddr
    left.setsockopt(:SOCKET, :KEEPALIVE, true)
    expect(left.getsockopt(:SOCKET, :KEEPALIVE).bool).to be true
    expect(left.getsockopt(:SOCKET, :TYPE).int).to eq(stream? ? Socket::SOCK_STREAM : Socket::SOCK_DGRAM)
  end

  it "keeps messages apart, or has none" do
    left.send("one", 0)
    left.send("two", 0)
    IO.select([right])
    snooze until right.recv(9, Socket::MSG_PEEK).size == (stream? ? 6 : 3)
    expect(right.recv(2)).to eq "on"
    expect(right.recv(9)).to eq(stream? ? "etwo" : "two")
  end

  it "tells a waiting receiver that it was closed" do
    waiting = spin { right.recv(1) rescue [$!.class, $!.message] }
    2.times { snooze }
    right.close
    expect(waiting.await).to eq [IOError, "stream closed in another thread"]
    expect { right.recv(1) }.to raise_error IOError, "closed stream"
  end

  it "can be closed for writing alone" do
    left.close_write
    expect { left.send("x", 0) }.to raise_error Errno::EPIPE
    right.send("back", 0)
    expect(left.recv(10)).to eq "back"
  end

  %i[recv recvfrom recvmsg readpartial].each do |name|
    receive = ->(socket) { [*(name == :recvmsg ? socket.recvmsg : socket.public_send(name, 10))].first }

    it "gives what comes to the next when #{name} is cancelled", :ours do
      victim = spin { receive.call(right) }
      2.times { snooze }
      victim.stop
      victim.await
      left.send("kept", 0)
      expect(receive.call(right)).to eq "kept"
    end

    it "keeps what comes in the turn in which #{name} is cancelled", :ours do
      victim = spin { receive.call(right) }
      2.times { snooze }
      left.send("kept", 0)
      victim.stop(:stopped)
      expect([victim.await, receive.call(right)]).to eq %i[stopped].push("kept")
    end
  end
end

# Linux tells only the readers of streams that there will be no more.
RSpec.shared_examples "a stream socket" do
  it "tells its peer when it is closed for writing" do
    waiting = spin { right.read }
    left.write("last")
    left.close_write
    expect([waiting.await, right.eof?, right.read, right.write("back"), left.recv(10)]).to eq ["last", true, "", 4, "back"]
  end

  it "wakes its reader when it is closed for reading" do
    waiting = spin { right.recv(1) }
    2.times { snooze }
    right.shutdown(:RD)
    expect(waiting.await.to_s).to eq ""
  end
end
