# frozen_string_literal: true

# What the loops of every stream do; `reader` and `writer` are its two ends, `writer.close` ends the stream.
RSpec.shared_examples "a looping stream" do
  describe "#read_loop" do
    it "yields so many bytes at most, until the end of the stream, and gives the stream" do
      spin { writer << "foobar"; writer.close }
      pieces = []
      expect(reader.read_loop(3) { |piece| pieces << piece }).to equal reader
      expect(pieces).to eq %w[foo bar]
    end

    it "yields a piece a write where a switch lies between" do
      pieces = []
      reading = spin { reader.read_loop { |piece| pieces << piece } }
      %w[a b].each_with_index { |piece, index| writer << piece; sleep 0 until pieces[index] }
      writer.close
      reading.await
      expect(pieces).to eq %w[a b]
    end

    it "ends with a break, which gives its value, and leaves the rest" do
      writer << "foobar"
      expect(reader.read_loop(3) { |piece| break piece }).to eq "foo"
      expect(reader.readpartial(9)).to eq "bar"
    end

    it "ends with StopIteration" do
      writer << "foobar"
      expect(reader.read_loop { raise StopIteration }).to be_nil
    end

    it "lets through what the block raises, also EOFError" do
      writer << "foobar"
      expect { reader.read_loop { raise EOFError, "mine" } }.to raise_error EOFError, "mine"
    end

    it "runs nothing behind the loop where the reading fiber's parent is stopped" do
      after = false
      parent = spin { spin { reader.read_loop { nil }; after = true }; suspend }
      3.times { snooze }
      parent.stop
      parent.await
      expect(after).to be false
    end
  end

  describe "#gets_loop" do
    it "yields every line, also the last one without its newline" do
      spin { ["one\nt", "wo\nthree"].each { |part| writer << part; snooze }; writer.close }
      lines = []
      expect(reader.gets_loop { |line| lines << line }).to equal reader
      expect(lines).to eq ["one\n", "two\n", "three"]
    end

    it "takes what gets takes" do
      spin { writer << "a-b-c"; writer.close }
      lines = []
      reader.gets_loop("-") { |line| lines << line }
      expect(lines).to eq %w[a- b- c]
    end

    it "ends with a break, which gives its value" do
      writer << "one\ntwo\n"
      expect(reader.gets_loop { |line| break line }).to eq "one\n"
      expect(reader.gets).to eq "two\n"
    end
  end

  describe "#feed_loop" do
    it "calls the receiver with each piece" do
      spin { writer << "foobar"; writer.close }
      pieces = []
      expect(reader.feed_loop(->(piece) { pieces << piece })).to equal reader
      expect(pieces.join).to eq "foobar"
    end

    it "calls another method, with the block, whose break ends the loop" do
      feeder = Class.new { def feed(piece) = yield(piece.upcase) }.new
      writer << "foobar"
      expect(reader.feed_loop(feeder, :feed) { |piece| break piece }).to eq "FOOBAR"
    end
  end

  describe "reading into a place of a buffer" do
    it "appends, or ends after what was read" do
      writer << "foobar"
      expect(reader.read(3, +"def", -1)).to eq "deffoo"
      expect(reader.readpartial(3, +"abcdef", 1)).to eq "abar"
    end

    it "gives the buffer itself, and nil at the end of the stream" do
      writer << "foo"
      writer.close
      buffer = +"x"
      expect(reader.read(9, buffer, -1)).to equal buffer
      expect(reader.read(9, buffer, -1)).to be_nil
      expect(buffer).to eq "xfoo"
    end

    it "says nil instead of EOFError where that is asked for" do
      writer.close
      expect(reader.readpartial(9, +"", 0, false)).to be_nil
      expect { reader.readpartial(9, +"", 0, true) }.to raise_error EOFError
    end

    it "refuses a frozen buffer before it takes anything" do
      writer << "foobar"
      expect { reader.read(3, "x".freeze, -1) }.to raise_error FrozenError
      expect(reader.readpartial(9)).to eq "foobar"
    end
  end
end
