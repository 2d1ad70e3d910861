# frozen_string_literal: true

require "stringio"
require "zlib"

RSpec.describe Polyphony::Compression do
  let(:text) { "foobar" * 10_000 }
  let(:noise) { random.bytes(300_000) }

  def gzipped(text, **options) = (+"").tap { |made| IO.gzip(text, made, options) }

  it "takes what is called for pieces, with or without how much is asked for" do
    [
      ->(pieces) { -> { pieces.shift } }, ->(pieces) { ->(_length) { pieces.shift } },
      ->(pieces) { Object.new.tap { |source| source.define_singleton_method(:call) { |length| length.positive? ? pieces.shift : nil } } }
    ].each do |make|
      made = (+"").b
      IO.gzip(make.call(%w[foo bar]), made)
      expect(Zlib.gunzip(made)).to eq "foobar"
    end
  end

  everywhere do
    # The original took a piece that came slowly for the last one.
    it "compresses all of what comes slowly, in pieces" do
      reader, writer = pipe
      spin { noise.each_char.each_slice(9000) { |piece| writer << piece.join; snooze }; writer.close }
      made = (+"").b
      expect(IO.gzip(reader, made)).to eq made.bytesize
      expect(Zlib.gunzip(made) == noise).to be true
    end

    it "decompresses all of what comes slowly, in pieces" do
      reader, writer = pipe
      made = Zlib.gzip(noise)
      spin { made.each_char.each_slice(7) { |piece| writer << piece.join }; writer.close }
      out = (+"").b
      expect(IO.gunzip(reader, out)).to eq noise.bytesize
      expect(out == noise).to be true
    end

    it "goes from one stream to another while others run" do
      (from, feed), (into, drain) = unix_pair, pipe.reverse
      spin { feed << noise; feed.close }
      there = Polyphony.pipe
      packing = spin { IO.deflate(from, there).tap { there.close } }
      unpacking = spin { IO.inflate(there, into).tap { into.close } }
      expect(drain.read.b == noise).to be true
      expect([packing.await > noise.bytesize, unpacking.await]).to eq [true, noise.bytesize]
      there.close_read
    end
  end

  it "gives the counts that Polyphony 1 gives" do
    made = +""
    expect(IO.deflate("foobar" * 20, made)).to eq 17
    expect(IO.deflate(text, +"")).to eq 118
    expect(IO.inflate(Zlib.deflate("foobar"), +"")).to eq 6
    expect(IO.inflate(made, out = +"")).to eq 120
    expect(out).to eq "foobar" * 20
  end

  it "tells what the header says" do
    info = {}
    now = Time.at(1_700_000_000)
    IO.gunzip(gzipped("x", mtime: now, orig_name: "name", comment: "why"), +"", info)
    expect(info).to eq mtime: now, orig_name: "name", comment: "why"
    IO.gunzip(gzipped("x", mtime: false), +"", info)
    expect(info).to eq mtime: Time.at(0), orig_name: nil, comment: nil
    IO.gunzip(gzipped("x", mtime: 42), +"", info)
    expect(info[:mtime]).to eq Time.at(42)
    before = Time.now.to_i
    IO.gunzip(gzipped("x"), +"", info)
    expect(info[:mtime].to_i).to be_between(before, Time.now.to_i)
  end

  it "makes headers that Zlib understands" do
    made = Zlib::GzipReader.new(StringIO.new(gzipped(text, mtime: 7, orig_name: "é", comment: "c")))
    expect([made.read == text, made.mtime, made.orig_name.b, made.comment]).to eq [true, Time.at(7), "é".b, "c"]
  end

  # The header ended at the NUL, and the rest was taken for data.
  it "cuts a name at its NUL, as Zlib does" do
    made = Zlib::GzipReader.new(StringIO.new(gzipped(text, orig_name: "a\0b", comment: "\0")))
    expect([made.read == text, made.orig_name, made.comment]).to eq [true, "a", ""]
  end

  it "decompresses several files in a row, and zeros behind the last" do
    out = +""
    expect(IO.gunzip(gzipped("foo") + gzipped("bar") + "\0" * 512, out)).to eq 6
    expect(out).to eq "foobar"
  end

  it "takes whatever can be read or called, and gives to whatever can be written to or called" do
    pieces = ["foo", "", "bar", nil]
    taken = []
    IO.gzip(-> { pieces.shift }, ->(piece) { taken << piece })
    expect(Zlib.gunzip(taken.join)).to eq "foobar"
    out = StringIO.new
    IO.gunzip(StringIO.new(taken.join), out)
    expect(out.string).to eq "foobar"
  end

  # Ruby's own Zlib.gunzip cannot: it counts characters where it means bytes.
  it "reads what stands in a string as text, whenever that was made" do
    mtime = Time.at("\0\0Ë\0".unpack1("V"))
    IO.gunzip(gzipped("foobar", mtime: mtime), out = +"")
    expect([gzipped("", mtime: mtime).encoding, out]).to eq [Encoding::UTF_8, "foobar"]
  end

  it "appends to a string, in its encoding" do
    out = +"é"
    IO.gunzip(gzipped("ü"), out)
    expect([out, out.valid_encoding?]).to eq ["éü", true]
  end

  it "lets others run while it works on a string" do
    ticks = 0
    ticker = spin { loop { ticks += 1; snooze } }
    IO.deflate(noise * 4, +"")
    ticker.stop
    ticker.await
    expect(ticks).to be > 4
  end

  it "works on what a string was when it was given" do
    given = noise.dup
    changing = spin { loop { snooze; given.clear } }
    IO.gzip(given, made = +"".b)
    changing.stop
    changing.await
    expect([Zlib.gunzip(made) == noise, given]).to eq [true, ""]
  end

  it "lets others run while it works on one large piece, and passes it on in small ones" do
    [
      ["gzip", ->(text) { text }], ["deflate", ->(text) { text }], ["gunzip", Zlib.method(:gzip)], ["inflate", Zlib.method(:deflate)]
    ].each do |name, made_of|
      ticks = 0
      ticker = spin { loop { ticks += 1; snooze } }
      pieces = [made_of.call("\0" * 2_000_000)]
      sizes = []
      IO.public_send(name, -> { pieces.shift }, ->(piece) { sizes << piece.bytesize })
      ticker.stop
      ticker.await
      expect([name, ticks, sizes.max]).to match [name, be > 20, be <= 65_536]
    end
  end

  it "asks nobody again who has said that there is no more" do
    asked = 0
    made = Zlib.gzip("foobar")
    source = -> { (asked += 1) == 1 ? made : nil }
    expect([IO.gunzip(source, +"".b), asked]).to eq [6, 2]
  end

  it "reads the headers that other programs write" do
    head = [0x1f, 0x8b, 8, 4 | 8 | 16, 77, 2, 3].pack("C4VCC") + "\3\0abc" + "na\xe9\0".b + "\0"
    made = head + Zlib.gzip("foobar").byteslice(10..)
    # However it is cut.
    [made.bytesize, 1, 3].each do |size|
      pieces = made.unpack("a#{size}" * (made.bytesize / size) + "a*")
      IO.gunzip(-> { pieces.shift }, out = +"", info = {})
      expect([out, info]).to eq ["foobar", { mtime: Time.at(77), orig_name: "na\xe9".b, comment: nil }]
    end
  end

  # The original gave what it had, or nothing, without a word.
  describe "what is damaged" do
    {
      "nothing" => ->(_) { "" }, "garbage" => ->(_) { "garbage" * 9 }, "half a header" => ->(made) { made[0, 5] },
      "half a body" => ->(made) { made[0, made.size / 2] }, "no footer" => ->(made) { made[0..-9] },
      "half a footer" => ->(made) { made[0..-3] },
      "another checksum" => ->(made) { made.dup.tap { |bad| bad.setbyte(-6, bad.getbyte(-6) ^ 1) } },
      "another length" => ->(made) { made.dup.tap { |bad| bad.setbyte(-1, bad.getbyte(-1) ^ 1) } },
      "garbage behind the file" => ->(made) { "#{made}garbage" }
    }.each do |name, damage|
      it "is an error of Zlib's in gunzip: #{name}" do
        expect { IO.gunzip(damage.call(Zlib.gzip(noise)), +"".b) }.to raise_error Zlib::Error
      end
    end

    def error_of
      yield
    rescue Zlib::Error => error
      [error.class, error.message, (error.input if error.is_a?(Zlib::GzipFile::Error))]
    end

    head = ->(flags, rest = "") { [0x1f, 0x8b, 8, flags, 0, 0, 3].pack("C4VCC") + rest }
    {
      "nothing" => "", "garbage" => "garbage" * 9, "half a magic" => "\x1f".b, "another method" => "\x1f\x8b\7#{"\0" * 7}".b,
      "a sum of the header" => head.call(2), "what is secret" => head.call(32), "what nobody knows" => head.call(64),
      "no name" => head.call(8, "ab"), "no comment" => head.call(24, "ab\0cd"), "half a field" => head.call(4, "\4\0ab"), "half a size" => head.call(4, "\4"),
      "no body" => head.call(0), "half a block" => head.call(0, "\0\1\0"), "a block of no type" => head.call(0, "\7"),
      "lengths that do not agree" => head.call(0, "\0\1\0\1\0"), "too many symbols" => head.call(0, "\xfc\0\0".b), "a look back before the beginning" => head.call(0, "\x03\x02\x00".b * 2),
      "no footer" => head.call(0, "\3\0"), "half a footer" => head.call(0, "\3\0abc"),
      "another sum" => head.call(0, "\3\0#{"\1" * 8}"), "another length" => head.call(0, "\3\0#{"\0" * 4}#{"\1" * 4}")
    }.each do |name, made|
      it "is called what Ruby's own reader calls it: #{name}" do
        theirs = error_of { Zlib::GzipReader.new(StringIO.new(made.b)).read }
        expect(error_of { IO.gunzip(made, +"".b) }).to eq theirs
        pieces = made.b.chars
        expect(error_of { IO.gunzip(-> { pieces.shift }, +"".b) }.first(2)).to eq theirs.first(2)
      end
    end

    it "is an error of Zlib's in inflate" do
      made = Zlib.deflate(noise)
      expect { IO.inflate("", +"".b) }.to raise_error Zlib::BufError
      expect { IO.inflate(made[0..-2], +"".b) }.to raise_error Zlib::BufError
      expect { IO.inflate("garbage" * 9, +"".b) }.to raise_error Zlib::DataError
      expect { IO.inflate(made[0..-2] + "x", +"".b) }.to raise_error Zlib::DataError
    end
  end

  it "refuses what it cannot read or write" do
    expect { IO.gzip(3, +"") }.to raise_error TypeError, "cannot read from Integer"
    expect { IO.gzip("x", 3) }.to raise_error TypeError, "cannot write to Integer"
    expect { IO.gzip("x", "frozen".freeze) }.to raise_error FrozenError
    expect { IO.gzip("x", +"", nonsense: 1) }.to raise_error ArgumentError
  end

  it "leaves nothing behind when it is cancelled" do
    reader, = pipe
    victim = spin { IO.gzip(reader, +"") }
    2.times { snooze }
    victim.stop
    expect(victim.await).to be_nil
  end
end
