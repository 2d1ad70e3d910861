# frozen_string_literal: true

require "timeout"

# A read that can be answered by what is there waits for nothing, as in stock Ruby: nobody writes more here.
RSpec.describe IO, "waiting for no more than is needed" do
  def stream(text, *encodings, **options)
    reader, writer = IO.pipe(*encodings, **options)
    writer << text
    Timeout.timeout(10) { yield reader }
  ensure
    [reader, writer].each(&:close)
  end

  it "ends a line where the limit is, without looking further" do
    expect(stream("abcdef") { |io| [io.gets(2), io.gets(";", 3), io.readline(1)] }).to eq %w[ab cde f]
  end

  it "reads on for the rest of a character that the limit cuts, and no further" do
    expect(stream("aé") { |io| io.gets(2) }).to eq "aé"
  end

  it "counts the limit in what is converted" do
    expect(stream("\xE9\xE9x".b, "iso-8859-1:utf-8") { |io| [io.gets(2), io.gets(3)] }).to eq %w[é éx]
  end

  it "takes a carriage return for the end of a line where line ends are universal" do
    expect(stream("a\r\nb\rc", "utf-8", universal_newline: true) { |io| [io.gets, io.gets] }).to eq %W[a\n b\n]
  end

  it "gives a character whose bytes would begin a longer one in the other encoding" do
    expect(stream("\xE9".b, "iso-8859-1:utf-8", &:getc)).to eq "é"
  end

  it "finds a line that was pushed back into a stream that is converted" do
    line = stream("", "iso-8859-1:utf-8") do |io|
      io.ungetc("x\n")
      io.gets
    end
    expect(line).to eq "x\n"
  end

  it "says what cannot be converted before the end" do
    expect { stream("a\xFFb".b, "us-ascii:utf-8", &:read) }.to raise_error(Encoding::InvalidByteSequenceError)
  end

  it "reads a stream whose conversion was ended with characters left" do
    line = stream("a\n", "iso-8859-1:utf-8") do |io|
      io.ungetc("xyz")
      io.set_encoding("utf-8", universal_newline: true)
      io.gets
    end
    expect(line).to eq "a\n"
  end

  it "refuses arguments before anything is there" do
    mismatched = "é".encode("iso-8859-1")
    [-> { _1.gets(mismatched) }, -> { _1.readlines(mismatched, 0) }, -> { _1.each_line(mismatched, 0) { } },
     -> { _1.read(1, nil, nil) }, -> { _1.getc(1) }, -> { _1.eof?(1) }, -> { _1.readpartial(1, nil, nil) }].each do |call|
      expect { stream("", &call) }.to raise_error(ArgumentError, /encoding mismatch|wrong number/)
    end
    expect { stream("") { |io| io.gets({}) } }.to raise_error(TypeError)
  end

  it "tells writers of nothing that nobody reads" do
    one, other = UNIXSocket.pair
    other.close
    expect { one.syswrite("") }.to raise_error(Errno::EPIPE)
  ensure
    one.close
  end

  it "names the descriptor of a connection that was reset" do
    server = TCPServer.new("127.0.0.1", 0)
    client = TCPSocket.new("127.0.0.1", server.addr[1])
    accepted = server.accept
    accepted.setsockopt(:SOCKET, :LINGER, [1, 0].pack("ii"))
    accepted.close
    expect { client.gets }.to raise_error(Errno::ECONNRESET, /@ io_fillbuf - fd:#{client.fileno} /)
  ensure
    [client, server].each(&:close)
  end

  it "gives what was read ahead to recv_nonblock" do
    one, other = UNIXSocket.pair
    other << "line\nrest"
    expect([one.gets, one.recv_nonblock(9)]).to eq %W[line\n rest]
  ensure
    [one, other].each(&:close)
  end

  it "leaves the status of a command that is read in `$?`" do
    expect([IO.read("|echo a; exit 3"), $?.exitstatus]).to eq ["a\n", 3]
  end
end
