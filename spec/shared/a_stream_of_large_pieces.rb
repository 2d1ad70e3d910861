# frozen_string_literal: true

# What large pieces are like, which are read without a copy once one has come; `reader` and `writer` are the ends.
RSpec.shared_examples "a stream of large pieces" do
  let(:chunk) { random.bytes(16_384) }

  # So many bytes, piece by piece.
  def drained(size)
    taken = +""
    taken << reader.readpartial(65_536) while taken.bytesize < size
    taken
  end

  before do
    spin { writer.write(chunk) }
    drained(chunk.bytesize)
  end

  it "gives them whole and in order, whatever their sizes" do
    parts = [1, 20_000, 70_000, 8_191, 8_192, 16_384, 65_536, 3, 65_537, 40_000].map { |size| random.bytes(size) }
    spin { parts.each { |part| writer.write(part) }; writer.close }
    pieces = []
    reader.read_loop(100_000) { |piece| pieces << piece }
    expect(pieces.map(&:b).join == parts.join).to be true
    expect(pieces.map(&:frozen?)).not_to include true
    expect(pieces.last << "more").to end_with "more"
  end

  it "gives them to the next reader when reads are cancelled as they come" do
    lost = Array.new(20) do
      victim = spin { reader.readpartial(65_536) }
      2.times { snooze }
      writer.write_nonblock(chunk)
      victim.stop
      taken = victim.await.to_s.b
      taken << drained(chunk.bytesize - taken.bytesize)
      taken == chunk ? 0 : 1
    end
    expect(lost.sum).to eq 0
  end

  it "gives what was put back while it waited before them" do
    waiting = spin { reader.readpartial(65_536) }
    2.times { snooze }
    reader.ungetbyte("x")
    writer.write(chunk)
    taken = waiting.await
    taken << drained(chunk.bytesize + 1 - taken.bytesize)
    expect(taken == "x#{chunk}".b).to be true
  end

  it "sends what is buffered before it takes one" do
    next unless reader.is_a?(BasicSocket)

    reader.sync = false
    reader.write("more")
    writer.write(chunk)
    drained(chunk.bytesize)
    expect(writer.read_nonblock(4, exception: false)).to eq "more"
  end

  it "lets others run though there is always one" do
    turns = 0
    others = spin { loop { (turns += 1) && snooze } }
    64.times do
      writer.write_nonblock(chunk)
      drained(chunk.bytesize)
    end
    others.stop
    expect(turns).to be > 4
  end

  it "tells who waits for one of the end" do
    waiting = spin { reader.readpartial(65_536) rescue [$!.class, $!.message] }
    2.times { snooze }
    writer.close
    expect(waiting.await).to eq [EOFError, "end of file reached"]
  end
end
