# frozen_string_literal: true

# What reading is like, of stock Ruby's classes and with a scheduler: `reader` and `writer` are a stream's two
# ends. Those marked `:ours` are about fibers and cancelling, of which stock Ruby has no like.

# Every stream, also one that never waits.
RSpec.shared_examples "a readable io" do
  let(:nothing) { "" } # what `read` gives at the end

  it "gives a line that comes in pieces, and the last one without its newline" do
    feed("on", "e\ntw", "o\nthree")
    expect([reader.gets, reader.gets, reader.gets, reader.gets]).to eq ["one\n", "two\n", "three", nil]
  end

  it "reads exactly so many bytes, or to the end" do
    feed("abc", "def", "ghi")
    expect([reader.read(4), reader.read, reader.read, reader.read(1)]).to eq ["abcd", "efghi", nothing, nil]
  end

  it "fills a string of one's own, and leaves nothing of what was in it" do
    feed("abcdef")
    buffer = +"what was there before"
    expect([reader.read(3, buffer), buffer.dup]).to eq %w[abc abc]
    expect(reader.readpartial(9, buffer)).to equal buffer
    expect([buffer.dup, reader.read(1, buffer), buffer]).to eq ["def", nil, ""]
  end

  it "is one stream through the ways of reading that every stream has" do
    feed("one\ntwo three\nfour five six")
    taken = [reader.gets, reader.getc, reader.readpartial(1), reader.read(2)]
    reader.ungetc("T")
    taken.push(reader.gets, reader.getc, reader.read)
    expect(taken).to eq ["one\n", "t", "w", "o ", "Tthree\n", "f", "our five six"]
  end

  it "says EOFError where a reader must have something" do
    writer.close
    expect { reader.readpartial(1) }.to raise_error EOFError, "end of file reached"
    expect { reader.readline }.to raise_error EOFError
    expect([reader.gets, reader.getc, reader.read(1)]).to eq [nil, nil, nil]
  end
end

# Every stream whose other end may take its time.
RSpec.shared_examples "a readable io that waits" do
  it "lets others run until there is something" do
    line = spin { reader.gets }
    2.times { snooze }
    expect([spin { :ran }.await, line.alive?]).to eq [:ran, true]
    writer << "line\n"
    expect(line.await).to eq "line\n"
  end

  it "gives what is there, and waits for no more" do
    writer << "line\nrest"
    expect([reader.gets, reader.readpartial(100)]).to eq %W[line\n rest]
  end

  it "says that there is nothing, where it is not to wait" do
    expect(reader.read_nonblock(1, exception: false)).to eq :wait_readable
    expect { reader.read_nonblock(1) }.to raise_error IO::WaitReadable
  end

  it "gives the bytes to the next reader when a read is cancelled", :ours do
    victim = spin { reader.readpartial(10) }
    2.times { snooze }
    victim.stop
    victim.await
    writer << "kept"
    expect(reader.readpartial(10)).to eq "kept"
  end

  it "keeps the part of a line that had come when the wait for its end is cancelled", :ours do
    victim = spin { reader.gets }
    2.times { snooze }
    writer << "begun, "
    3.times { snooze }
    victim.stop
    victim.await
    writer << "ended\n"
    expect(reader.gets).to eq "begun, ended\n"
  end
end

# What is an IO, beyond what every stream is.
RSpec.shared_examples "an IO that is read" do
  it "gives characters whole, however their bytes come" do
    reader.set_encoding("UTF-8")
    feed("é".byteslice(0, 1).b, "é€".byteslice(1, 3).b, "€".byteslice(2, 1).b)
    expect([reader.getc, reader.getc, reader.getc]).to eq ["é", "€", nil]
  end

  # Stock Ruby refuses sysread while anything is buffered.
  it "is one stream through every way of reading", :ours do
    feed("one\ntwo three\nfour five six")
    taken = [
      reader.gets, reader.getc, reader.readpartial(1), reader.getbyte, reader.eof?, reader.read(1),
      reader.ungetc("T"), reader.sysread(1), reader.gets, reader.read_nonblock(3), reader.each_byte.first(2),
      reader.each_char.first(1), reader.read
    ]
    expect(taken).to eq ["one\n", "t", "w", 111, false, " ", nil, "T", "three\n", "fou", [114, 32], ["f"], "ive six"]
  end

  it "is one stream through characters, bytes and pieces" do
    feed("two three\nfour five six")
    taken = [
      reader.getc, reader.readpartial(1), reader.getbyte, reader.eof?, reader.read(1), reader.ungetc("T"), reader.getc,
      reader.gets, reader.read_nonblock(3), reader.each_byte.first(2), reader.each_char.first(1), reader.ungetbyte("i"), reader.read
    ]
    expect(taken).to eq ["t", "w", 111, false, " ", nil, "T", "three\n", "fou", [114, 32], ["f"], nil, "iive six"]
  end

  it "gives lines by every separator, limit and chomp" do
    feed("one\ntwo;three\n\n\nfour\nfive")
    taken = [reader.gets(chomp: true), reader.gets(";"), reader.gets("", chomp: true), reader.gets(2), reader.gets("\n", 9)]
    2.times { taken << reader.gets(nil) }
    expect(taken).to eq ["one", "two;", "three", "fo", "ur\n", "five", nil]
  end

  it "gives all lines, characters and bytes" do
    feed("a\nbc\nde")
    lines = reader.each_line(chomp: true)
    expect([lines.next, reader.readchar, reader.readbyte, reader.readlines, reader.readlines]).to eq ["a", "b", 99, ["\n", "de"], []]
  end

  it "says EOFError in every way of reading that must have something" do
    writer.close
    %i[readline readchar readbyte].each { |name| expect { reader.public_send(name) }.to raise_error EOFError, "end of file reached" }
    expect { reader.sysread(1) }.to raise_error EOFError, "end of file reached"
    expect([reader.eof?, reader.getbyte, reader.each_line.to_a]).to eq [true, nil, []]
  end

  it "feeds IO.copy_stream, buffered bytes first" do
    feed("line\nrest")
    reader.gets
    in_directory do |directory|
      expect(IO.copy_stream(reader, File.join(directory, "copy"))).to eq 4
      expect(File.read(File.join(directory, "copy"))).to eq "rest"
    end
  end
end

# What both have in common.
RSpec.shared_examples "an IO that is waited for" do
  it "is ready for IO.select when something is there or buffered" do
    expect(IO.select([reader], nil, nil, 0)).to be_nil
    expect(IO.select([reader], nil, nil, 0.002)).to be_nil
    spin { snooze; writer << "a\nb" }
    expect(IO.select([reader], nil, nil, 60)).to eq [[reader], [], []]
    reader.gets
    expect(IO.select([reader])).to eq [[reader], [], []]
  end

  it "gives what was put back while it waited before what came", :ours do
    waiting = spin { reader.readpartial(10) }
    snooze
    reader.ungetbyte("x")
    writer << "y"
    expect(waiting.await).to eq "xy"
    expect(spin { writer << "z"; reader.readpartial(10) }.await.encoding).to eq Encoding::BINARY
  end
end

# What can be closed at once: a command's output waits for the command.
RSpec.shared_examples "an IO that is closed" do
  it "tells a waiting reader that it was closed" do
    waiting = spin { reader.gets rescue [$!.class, $!.message] }
    2.times { snooze }
    reader.close
    expect(waiting.await).to eq [IOError, "stream closed in another thread"]
  end
end
