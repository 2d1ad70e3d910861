# frozen_string_literal: true

require "stringio"
require "tempfile"
require "zlib"

RSpec.describe Polyphony::Extensions::Moving do
  let(:source) { pipe }
  let(:target) { pipe }
  let(:data) { random.bytes(300_000) }

  everywhere do
    describe "IO.splice" do
      it "moves what is there, then says 0 at the end" do
        source[1] << "foobar"
        source[1].close
        expect([IO.splice(source[0], target[1], 1000), IO.splice(source[0], target[1], 1000)]).to eq [6, 0]
        expect(target[0].readpartial(9)).to eq "foobar"
      end

      it "moves everything, so much at once, where the length is negative" do
        feeder = spin { source[1] << data; source[1].close }
        taken = spin { target[0].read }
        expect(target[1].splice_from(source[0], -1000)).to eq data.bytesize
        target[1].close
        expect(taken.await.b == data).to be true
        feeder.await
      end

      it "lets others run until something comes" do
        moved = spin { IO.splice(source[0], target[1], 10) }
        2.times { snooze }
        source[1] << "late"
        expect(moved.await).to eq 4
        expect(target[0].readpartial(9)).to eq "late"
      end

      it "can be cancelled, and moves nothing then" do
        moving = spin { IO.splice(source[0], target[1], 10) }
        2.times { snooze }
        moving.stop
        moving.await
        source[1] << "kept"
        expect(source[0].readpartial(9)).to eq "kept"
      end

      it "ends with what the fiber is scheduled with" do
        moving = spin { IO.splice(source[0], target[1], 10) }
        2.times { snooze }
        moving.schedule(:enough)
        expect(moving.await).to eq :enough
      end

      # The original left behind what a `gets` had read ahead.
      it "moves first what was read ahead" do
        source[1] << "line\nrest"
        source[0].gets
        expect(IO.splice(source[0], target[1], 100)).to eq 4
        expect(target[0].readpartial(9)).to eq "rest"
      end

      it "writes first what was written and is buffered" do
        target[1].sync = false
        target[1] << "first "
        source[1] << "then"
        IO.splice(source[0], target[1], 10)
        expect(target[0].readpartial(99)).to eq "first then"
      end

      it "takes Polyphony's pipes and descriptors" do
        inlet, outlet = Polyphony.pipe, Polyphony.pipe
        inlet << "foobar"
        expect(outlet.splice_from(inlet, 3)).to eq 3
        expect(IO.splice(inlet.fds[0], outlet.fds[1], 9)).to eq 3
        expect(outlet.close.read).to eq "foobar"
        [inlet, outlet].each(&:close_read)
        inlet.close
      end
    end

    describe "IO.tee" do
      it "copies, and leaves the bytes where they were" do
        source[1] << "foobar"
        expect(IO.tee(source[0], target[1], 100)).to eq 6
        expect([source[0].readpartial(9), target[0].readpartial(9)]).to eq %w[foobar foobar]
      end
    end

    describe "IO.double_splice" do
      it "moves everything between two that are no pipes" do
        (from, feed), (into, drain) = unix_pair, tcp_pair
        spin { feed << data; feed.close }
        moved = spin { IO.double_splice(from, into).tap { into.close } }
        expect(drain.read == data).to be true
        expect(moved.await).to eq data.bytesize
      end

      # The original went on for ever.
      it "ends with EPIPE where nobody reads any more" do
        (from, feed), (into, drain) = unix_pair, unix_pair
        drain.close
        feed << "x" * 1000
        expect { IO.double_splice(from, into) }.to raise_error(an_instance_of(Errno::EPIPE).or(an_instance_of(Errno::ECONNRESET)))
      end

      it "gives back what it took and could not deliver" do
        (from, feed), (into, drain) = unix_pair, unix_pair
        drain.close
        feed << "kept"
        expect { IO.double_splice(from, into) }.to raise_error SystemCallError
        expect(from.readpartial(9)).to eq "kept"
      end

      it "copies files, also to the end of one that is only appended to" do
        in_directory do |directory|
          path, copy = File.join(directory, "a"), File.join(directory, "b")
          File.binwrite(path, data)
          File.write(copy, "before")
          moved = File.open(path) { |from| File.open(copy, "a") { |into| IO.double_splice(from, into) } }
          expect(moved).to eq data.bytesize
          expect(File.binread(copy) == "before".b + data).to be true
        end
      end
    end
  end

  it "refuses to move where neither is a pipe" do
    left, = unix_pair
    right, = unix_pair
    expect { IO.splice(left, right, 10) }.to raise_error Errno::EINVAL
  end

  # On epoll it waited for bytes that it did not want.
  it "moves nothing, and waits for nothing, where no byte is wanted" do
    expect([IO.splice(source[0], target[1], 0), IO.tee(source[0], target[1], 0)]).to eq [0, 0]
  end

  it "refuses what is no IO, and what is closed" do
    source[0].close
    expect { IO.splice(source[0], target[1], 1) }.to raise_error IOError
    expect { IO.splice("x", target[1], 1) }.to raise_error TypeError
    expect { IO.tee(target[0], source[1], -1) }.to raise_error ArgumentError
    expect { IO.splice(target[0], source[1], nil) }.to raise_error TypeError
    expect { IO.http1_splice_chunked(target[0], source[1], 0) }.to raise_error ArgumentError
  end

  it "takes no length for too large" do
    source[1] << "foobar"
    expect(IO.splice(source[0], target[1], 1 << 70)).to eq 6
  end

  it "tells whoever waits that its source was closed" do
    moving = spin { IO.splice(source[0], target[1], 10) rescue $!.class }
    2.times { snooze }
    source[0].close
    expect(moving.await).to eq IOError
  end

  # The descriptor below a TLS connection speaks TLS.
  it "reads and writes what is no plain descriptor in its own way" do
    client, server = tls_pair
    source[1] << "foobar"
    source[1].close
    spin { IO.double_splice(source[0], server); server.close }
    expect(IO.double_splice(client, target[1])).to eq 6
    expect(target[0].readpartial(9)).to eq "foobar"
    text = StringIO.new("from a string")
    expect([IO.splice(text, target[1], 99), IO.splice(text, target[1], 99)]).to eq [13, 0]
    expect(target[0].readpartial(99)).to eq "from a string"
  end

  # The original closed the pipe's descriptor twice: the second time it was somebody else's.
  it "closes no descriptor twice" do
    (from, feed), (into, drain) = unix_pair, unix_pair
    feed << "x"
    feed.close
    bystanders = spin { Array.new(20) { snooze; pipe } }
    IO.double_splice(from, into)
    bystanders.await.flatten.each { |io| expect { io.stat }.not_to raise_error }
    expect(drain.readpartial(9)).to eq "x"
  end

  # Polyphony 1 wrote nothing through a buffer.
  {
    "http1_splice_chunked" => ->(from, file) { IO.http1_splice_chunked(from, file, 10) },
    "splice_chunks" => ->(from, file) { Thread.current.backend.splice_chunks(from, file, "<", ">", nil, ";", 10) },
    "gzip" => ->(from, file) { IO.gzip(from, file) }, "gunzip" => ->(from, file) { IO.gunzip(StringIO.new(Zlib.gzip(from.read)), file) },
    "deflate" => ->(from, file) { IO.deflate(from, file) }, "inflate" => ->(from, file) { IO.inflate(StringIO.new(Zlib.deflate(from.read)), file) }
  }.each do |name, move|
    it "has all of it in the file when #{name} returns" do
      source[1] << "moved"
      source[1].close
      Tempfile.create do |file|
        move.call(source[0], file)
        written = File.size(file.path)
        file.close
        expect([written.positive?, File.size(file.path)]).to eq [true, written]
      end
    end
  end

  describe "IO.http1_splice_chunked" do
    it "sends a body in chunks, the last one empty" do
      source[1] << "foobar"
      source[1].close
      expect(IO.http1_splice_chunked(source[0], target[1], 4)).to equal target[1]
      expect(target[0].readpartial(99)).to eq "4\r\nfoob\r\n2\r\nar\r\n0\r\n\r\n"
    end
  end
end
