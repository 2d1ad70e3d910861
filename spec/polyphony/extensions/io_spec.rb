# frozen_string_literal: true

RSpec.describe IO do
  everywhere do
    describe("reading") { readable_ios }
    describe("writing") { writable_ios }
  end

  %i[pipe unix_pair tcp_pair].each do |make|
    everywhere do
      let!(:ends) { public_send(make) }
      let(:reader) { ends[0] }
      let(:writer) { ends[1] }

      it_behaves_like "a stream of large pieces"
      it_behaves_like "a writable io that tells how much went out"
    end
  end

  describe "#close, where a full pipe keeps what is buffered" do
    let(:ends) { pipe }
    let(:reader) { ends[0] }
    let(:writer) { ends[1].tap { |writer| writer.sync = false } }

    before do
      nil until writer.write_nonblock("." * 65_536, exception: false) == :wait_writable
      nil until writer.write_nonblock(".", exception: false) == :wait_writable
      writer << "tail"
    end

    everywhere do
      it "lets others run until it is out" do
        reading = spin { reader.read }
        writer.close
        expect([reading.await.end_with?("tail"), writer.closed?]).to eq [true, true]
      end

      it "loses nothing where it is cancelled, and can be called again" do
        expect([move_on_after(0.002, with_value: :late) { writer.close }, writer.closed?]).to eq [:late, false]
        reading = spin { reader.read }
        writer.close
        expect(reading.await).to end_with ".tail"
      end

      it "closes where nobody reads any more, and says so" do
        reader.close
        expect { writer.close }.to raise_error Errno::EPIPE
        expect(writer).to be_closed
      end

      it "is so for reopening, too" do
        reading = spin { reader.read }
        writer.reopen(File::NULL, "w")
        expect(reading.await).to end_with ".tail"
      end
    end
  end

  it "writes what is buffered before the end of a command's input" do
    IO.popen("sleep 0.01; wc -c", "r+") do |command|
      command.sync = false
      ran = spin { :ran }
      command << "x" * 8_000 << "y" * 8_000 << "z" * 150_000
      command.close_write
      expect([command.read.to_i, ran.await]).to eq [166_000, :ran]
    end
  end

  describe "#close" do
    it "may be called twice, and leaves no descriptor open" do
      reader, writer = IO.pipe
      expect([reader.close, reader.close, writer.close]).to eq [nil, nil, nil]
    end

    it "wakes readers in other threads" do
      reader, = pipe
      ready = Queue.new
      thread = Thread.new { spin { ready << true; reader.read rescue $!.class }.await }
      ready.pop
      snooze until thread.stop?
      reader.close
      expect(thread.value).to eq IOError
    end
  end

  it "writes to a file where it stands, whatever was read ahead" do
    in_directory do |directory|
      File.open(File.join(directory, "file"), "w+") do |file|
        file.sync = true
        file.write("0123456789")
        file.rewind
        read = file.read(2)
        file.write("X")
        file.rewind
        expect([read, file.read]).to eq %w[01 01X3456789]
      end
    end
  end

  # A main fiber has its large writes and its flushes made in a fiber of their own; here it may be late for one.
  {
    "an exit handler" => "at_exit { WRITE }", "an exit handler of before" => nil, "the trap of the exit" => "trap(:EXIT) { WRITE }",
    "a signal's handler" => "trap(:USR1) { WRITE }; Process.kill(:USR1, $$); snooze", "an enumerator" => "Enumerator.new { |y| WRITE; y << 1 }.next",
    "a finalizer" => "ObjectSpace.define_finalizer(Object.new, proc { WRITE })", "a child" => "Process.wait(fork { WRITE })",
    "the end of a thread" => "Thread.new { snooze; WRITE }.join", "an aborting program" => "begin; WRITE; ensure; exit!(0) if $stdout.flush.nil?; end"
  }.each do |name, script|
    it "writes and flushes what is buffered from #{name}" do
      write = '$stdout << "x" * 9_000; $stdout << "y" * 200_000; $stdout.flush'
      script = script ? "Polyphony.scheduler!; #{script}" : "at_exit { WRITE }; require 'polyphony'; Polyphony.scheduler!"
      loaded = "polyphony" unless script.start_with?("at_exit")
      out = Child.ruby!(script.sub("WRITE", write), loaded: loaded, before: ["env", "RUBYLIB=#{Child::LIBRARY}"])
      expect([out.bytesize, out.squeeze]).to eq [209_000, "xy"]
    end
  end

  # A line went out in one packet, its newline in another.
  it "writes what one call is given at once" do
    left, right = closing(*UNIXSocket.pair(:DGRAM))
    left.write("a", :b, nil, 3)
    left.puts("line")
    left.write("x" * 40_000, "y" * 20_000)
    expect([right.recv(99), right.recv(99), right.recv(99_999)]).to eq ["ab3", "line\n", "x" * 40_000 + "y" * 20_000]
  end

  it "gives all that is there, up to what is asked for" do
    data = random.bytes(60_000)
    in_directory do |directory|
      path = File.join(directory, "file")
      File.binwrite(path, data)
      [->(io, size) { io.readpartial(size) }, ->(io, size) { io.sysread(size) }, ->(io, size) { io.readpartial(size, +"") }].each do |read|
        reader, writer = pipe
        writer << data
        file = closing(File.open(path))
        expect([read.call(reader, 100_000), read.call(file, 100_000)].map { |got| got.b == data }).to eq [true, true]
        writer << data
        file.rewind
        [reader, file].each { |io| expect([read.call(io, 20_000), read.call(io, 20_001), read.call(io, 50_000)].join.b == data).to be true }
      end
    end
  end

  # The rest of a file that was not in memory was left to the next read.
  it "waits for the disk rather than give less of a file, as stock Ruby does" do
    data = random.bytes(2_000_000)
    in_directory do |directory|
      path = File.join(directory, "file")
      [->(io, size) { io.readpartial(size) }, ->(io, size) { io.sysread(size) }, ->(io, size) { io.readpartial(size, +"") }].each do |read|
        File.open(path, "wb") { |file| file.write(data); file.fsync; file.advise(:dontneed) }
        file = closing(File.open(path))
        sizes = [900_000, 300_000, 20_000, 10, 900_000]
        pieces = sizes.map { |size| read.call(file, size).b }
        expect([pieces.map(&:bytesize), pieces.join == data]).to eq [[900_000, 300_000, 20_000, 10, 779_990], true]
      end
    end
  end

  it "reads and writes files" do
    in_directory do |directory|
      path = File.join(directory, "file")
      File.write(path, "one\ntwo\n")
      File.open(path, "r+") do |file|
        expect([file.gets, file.pos, file.read, file.eof?]).to eq ["one\n", 4, "two\n", true]
        file.rewind
        expect(file.readlines(chomp: true)).to eq %w[one two]
      end
    end
  end
end

# What the tests of Polyphony 1 pin, call by call.
RSpec.describe IO, "at its edges" do
  let(:ends) { pipe }
  let(:reader) { ends[0] }
  let(:writer) { ends[1] }

  it "writes several strings and counts their bytes, and `<<` gives the IO" do
    expect(writer.write("a", "b", "\n", "c")).to eq 4
    expect(writer << "d" << "e").to equal writer
    expect(reader.readpartial(9)).to eq "ab\ncde"
  end

  it "reads exactly so many bytes" do
    writer << "foobar"
    writer.close
    expect([reader.read(2), reader.read(3), reader.read, reader.read(1), reader.read]).to eq ["fo", "oba", "r", nil, ""]
  end

  it "can be waited for, and then read without waiting" do
    waiting = spin { reader.wait_readable; reader.read_nonblock(9) }
    2.times { snooze }
    writer << "x"
    expect(waiting.await).to eq "x"
  end

  it "gives lines to an enumerator" do
    spin { writer << "a\nb"; snooze; writer << "\nlast"; writer.close }
    lines = reader.each_line
    expect([lines.next, lines.next, lines.next]).to eq ["a\n", "b\n", "last"]
  end

  it "gives a whole stream in one buffer, however long" do
    data = "x" * 250_000
    spin { writer << data; writer.close }
    expect(reader.read(nil, +"before ", -1)).to eq "before #{data}"
  end

  describe "IO.copy_stream" do
    let(:text) { File.read(__FILE__) }

    it "copies all, or so many bytes" do
      writer << "foobar"
      writer.close
      from, to = reader, pipe
      expect([IO.copy_stream(from, to[1], 3), IO.copy_stream(from, to[1])]).to eq [3, 3]
      expect(to[0].readpartial(9)).to eq "foobar"
    end

    it "copies from a path, from a place on, to a path" do
      in_directory do |directory|
        copy = File.join(directory, "copy")
        expect(IO.copy_stream(__FILE__, copy, 34, 4)).to eq 34
        expect(File.read(copy)).to eq text.byteslice(4, 34)
        expect(IO.copy_stream(__FILE__, copy)).to eq text.bytesize
        expect(File.read(copy)).to eq text
      end
    end

    it "copies more than any pipe holds while the other end is read" do
      data = random.bytes(400_000)
      (from, feed), (into, drain) = unix_pair, unix_pair
      spin { feed << data; feed.close }
      copying = spin { IO.copy_stream(from, into).tap { into.close } }
      expect([drain.read == data, copying.await]).to eq [true, data.bytesize]
    end

    it "ends with the error of a destination that nobody reads" do
      (from, feed), (into, drain) = unix_pair, unix_pair
      drain.close
      spin { feed << "x" * 100_000 rescue nil }
      expect { IO.copy_stream(from, into) }.to raise_error(an_instance_of(Errno::EPIPE).or(an_instance_of(Errno::ECONNRESET)))
      from.close
    end
  end
end
