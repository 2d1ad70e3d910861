# frozen_string_literal: true

# What every readable stream does; `reader` and `writer` are its two ends.
RSpec.shared_examples "a readable io" do
  it "lets others run until there is something" do
    ticks = 0
    ticker = spin { loop { ticks += 1; snooze } }
    line = spin { reader.gets }
    3.times { snooze }
    writer << "line\n"
    expect(line.await).to eq "line\n"
    expect(ticks).to be > 2
    ticker.stop
    ticker.await
  end

  it "gives a line that comes in pieces, and the last one without its newline" do
    spin { ["on", "e\ntw", "o\nthree"].each { |part| writer << part; 2.times { snooze } }; writer.close }
    expect([reader.gets, reader.gets, reader.gets, reader.gets]).to eq ["one\n", "two\n", "three", nil]
  end

  it "reads exactly so many bytes, or to the end" do
    spin { %w[abc def ghi].each { |part| writer << part; snooze }; writer.close }
    expect([reader.read(4), reader.read, reader.read, reader.read(1)]).to eq ["abcd", "efghi", "", nil]
  end

  it "is one stream through every way of reading" do
    spin { writer << "one\ntwo three\nfour five six"; writer.close }
    taken = [
      reader.gets, reader.getc, reader.readpartial(1), reader.getbyte, reader.eof?, reader.read(1),
      reader.ungetc("T"), reader.sysread(1), reader.gets, reader.read_nonblock(3), reader.each_byte.first(2),
      reader.each_char.first(1), reader.read
    ]
    expect(taken).to eq ["one\n", "t", "w", 111, false, " ", nil, "T", "three\n", "fou", [114, 32], ["f"], "ive six"]
  end

  it "is ready for IO.select when something is there or buffered" do
    expect(IO.select([reader], nil, nil, 0)).to be_nil
    expect(IO.select([reader], nil, nil, 0.002)).to be_nil
    spin { snooze; writer << "a\nb" }
    expect(IO.select([reader], nil, nil, 5)).to eq [[reader], [], []]
    reader.gets
    expect(IO.select([reader])).to eq [[reader], [], []]
  end

  it "gives what was put back while it waited before what came" do
    waiting = spin { reader.readpartial(10) }
    snooze
    reader.ungetbyte("x")
    writer << "y"
    expect(waiting.await).to eq "xy"
    expect(spin { writer << "z"; reader.readpartial(10) }.await.encoding).to eq Encoding::BINARY
  end

  it "gives the bytes to the next reader when a read is cancelled" do
    victim = spin { reader.readpartial(10) }
    2.times { snooze }
    victim.stop
    victim.await
    writer << "kept"
    expect(reader.readpartial(10)).to eq "kept"
  end

  it "tells a waiting reader that it was closed" do
    waiting = spin { reader.gets rescue [$!.class, $!.message] }
    2.times { snooze }
    reader.close
    expect(waiting.await).to eq [IOError, "stream closed in another thread"]
  end

  it "feeds IO.copy_stream, buffered bytes first" do
    spin { writer << "line\nrest"; writer.close }
    reader.gets
    in_directory do |directory|
      expect(IO.copy_stream(reader, File.join(directory, "copy"))).to eq 4
      expect(File.read(File.join(directory, "copy"))).to eq "rest"
    end
  end

  it "says EOFError where a reader must have something" do
    writer.close
    expect { reader.readpartial(1) }.to raise_error EOFError, "end of file reached"
    expect { reader.readline }.to raise_error EOFError
    expect { reader.sysread(1) }.to raise_error EOFError
    expect(reader.eof?).to be true
  end
end
