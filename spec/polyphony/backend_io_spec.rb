# frozen_string_literal: true

RSpec.describe Polyphony::BackendIO do
  let(:ends) { pipe }
  let(:reader) { ends[0] }
  let(:writer) { ends[1] }
  let(:backend) { Thread.current.backend }

  everywhere do
    it "reads and writes, by IO, by descriptor and by pipe" do
      other = Polyphony.pipe
      expect([backend.write(writer, "a", "b"), Polyphony.backend_write(writer.fileno, "c"), backend.write(other, "d")]).to eq [2, 1, 1]
      expect([Polyphony.backend_read(reader.fileno, +"", 2, true, 0), backend.read(reader, +"x", 9, false, -1)]).to eq %w[ab xc]
      expect(Polyphony.backend_read(other.close, +"", nil, true, 0)).to eq "d"
      expect(Polyphony.backend_read(other, +"", 9, true, 0)).to be_nil
      other.close_read
    end

    it "reads and writes what a wrapper keeps in @io" do
      wrapper = Struct.new(:kept) { def initialize(io) = (super; @io = io) }
      expect([backend.write(wrapper.new(writer), "ab"), backend.read(wrapper.new(wrapper.new(reader)), +"", 9, false, 0)]).to eq [2, "ab"]
      expect { backend.read(wrapper.new(nil), +"", 9, false, 0) }.to raise_error TypeError
    end

    it "sends and receives" do
      left, right = unix_pair
      expect([Polyphony.backend_send(left, "foo", 0), backend.sendv(left, %w[b ar], 0), backend.sendmsg(left, "!", 0, nil, nil)]).to eq [3, 3, 1]
      expect(backend.recv(right, +"x", 3, -1)).to eq "xfoo"
      expect(backend.recvmsg(right, +"", 99, 0, nil, nil, nil).first).to eq "bar!"
      left.close
      expect(backend.recv(right, +"", 9, 0)).to be_nil
    end

    it "accepts and connects" do
      server = listen
      accepting = spin { closing(backend.accept(server, TCPSocket)) }
      client = closing(Socket.new(:INET, :STREAM, 0))
      expect(backend.connect(client, "127.0.0.1", server.addr[1])).to eq 0
      client << "x"
      expect(accepting.await.recv(1)).to eq "x"
      connecting = spin { closing(TCPSocket.new("127.0.0.1", server.addr[1])) }
      expect(closing(backend.accept_loop(server, TCPSocket) { |socket| break socket })).to be_a TCPSocket
      connecting.await
    end
  end

  # The bytes were read, and then lost.
  it "takes nothing for what is no buffer" do
    writer << "data"
    expect { backend.read(reader, 5, 3, false, 0) }.to raise_error TypeError, "no implicit conversion of Integer into String"
    expect(reader.readpartial(9)).to eq "data"
  end

  it "loops until the end of the stream" do
    left, right = unix_pair
    [writer, left].each { |io| io << "foobar"; io.close }
    pieces = []
    backend.read_loop(reader, 3) { |piece| pieces << piece }
    backend.recv_loop(right, 3) { |piece| pieces << piece }
    expect(pieces).to eq %w[foo bar foo bar]
    feeding, feed = pipe
    feed << "x"
    expect(backend.feed_loop(feeding, ->(piece, &found) { found.call(piece) }) { |piece| break piece }).to eq "x"
  end

  it "closes" do
    expect(backend.close(reader)).to be_nil
    expect(reader.closed?).to be true
  end

  it "waits until an IO is ready" do
    waiting = spin { backend.wait_io(reader, false) }
    2.times { snooze }
    writer << "x"
    expect(waiting.await).to equal reader
    expect(Polyphony.backend_wait_io(writer, true)).to equal writer
  end

  describe "#chain" do
    it "does one after the other, and gives what the last one gives" do
      left, right = unix_pair
      writer << "spliced"
      expect(backend.chain([:write, left, "one "], [:send, left, "two ", 0], [:splice, reader, left, 99])).to eq 7
      expect(right.readpartial(99)).to eq "one two spliced"
    end

    # The original wrote at the beginning of the file.
    it "writes where the file stands" do
      in_directory do |directory|
        File.open(File.join(directory, "file"), "w+") do |file|
          file << "12345"
          file.flush
          backend.chain([:write, file, "6"])
          file.rewind
          expect(file.read).to eq "123456"
        end
      end
    end

    it "does nothing where one operation is none, and any number of them" do
      expect { backend.chain([:write, writer, "x"], [:jump, writer]) }.to raise_error RuntimeError
      expect { backend.chain([:write, writer]) }.to raise_error RuntimeError
      expect(reader.read_nonblock(1, exception: false)).to eq :wait_readable
      # The original crashed.
      expect(backend.chain(*[[:write, writer, "x"]] * 1500)).to eq 1
      expect(reader.readpartial(9999).size).to eq 1500
    end
  end

  it "sends a source in pieces, with what belongs before and behind" do
    writer << "hello world"
    writer.close
    left, right = unix_pair
    expect(backend.splice_chunks(reader, left, "<", ">", ->(length) { "#{length}:" }, ";", 4)).to eq 11
    expect(right.readpartial(99)).to eq "<4:hell;4:o wo;3:rld;>"
  end
end
