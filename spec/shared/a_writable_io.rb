# frozen_string_literal: true

# What writing is like; see "a readable io".
RSpec.shared_examples "a writable io" do
  it "tells how many bytes went out, or gives itself" do
    expect(writer.write("é", "b", "1", "\n")).to eq 5
    expect([writer.write, writer.write(""), writer.puts("c", "d\n", "e"), writer.print("f", :g)]).to eq [0, 0, nil, nil]
    expect(writer << "h" << "1").to equal writer
    writer.close
    expect(reader.read.b).to eq "éb1\nc\nd\ne\nfgh1".b
  end

  it "writes all of what does not fit at once" do
    data = random.bytes(2_000_000)
    written = spin { writer.write(data).tap { writer.close } }
    written.await if at_hand?
    expect(reader.read.b == data).to be true
    expect(written.await).to eq data.bytesize
  end

  it "keeps large writes of two fibers apart", :ours do
    fibers = %w[a b].map { |letter| spin { writer.write(letter * 300_000, letter * 300_000) } }
    ending = spin { Fiber.await(*fibers); writer.close }
    ending.await if at_hand?
    expect(reader.read.squeeze.size).to eq 2
    ending.await
  end

  it "writes a large piece behind what another fiber has begun to write", :ours do
    next unless writer.respond_to?(:syswrite)

    begun = spin { writer.syswrite("a") }
    snooze
    written = spin { writer.write("b" * 16_384); writer.close }
    [begun, written].each(&:await) if at_hand?
    expect(reader.read.start_with?("ab")).to be true
    Fiber.await(begun, written)
  end

  it "lets others run though there is always room", :ours do
    turns = 0
    others = spin { loop { (turns += 1) && snooze } }
    null = File.open(File::NULL, "w").tap { |file| file.sync = true }
    64.times { null.write("x" * 16_384) }
    others.stop
    expect(turns).to be > 4
  ensure
    null&.close
  end

  it "writes what was there when it was called, whatever becomes of the string", :ours do
    text = "x" * 300_000
    fiber = spin { writer.write(text); writer.close }
    snooze
    text.replace("y" * 300_000)
    fiber.await if at_hand?
    expect(reader.read == "x" * 300_000).to be true
    fiber.await
  end

  it "refuses to write once it is closed" do
    writer.close
    expect { writer << "x" }.to raise_error StandardError, /closed/
  end
end

# Where the other end takes it.
RSpec.shared_examples "a writable io that waits" do
  it "says EPIPE where nobody reads" do
    hang_up
    expect { 9.times { writer.write("x" * 100_000) } }.to raise_error(an_instance_of(Errno::EPIPE).or(an_instance_of(Errno::ECONNRESET)))
  end

  it "says that it is full, where it is not to wait" do
    nil until writer.write_nonblock("x" * 100_000, exception: false) == :wait_writable
    expect { loop { writer.write_nonblock("x" * 100_000) } }.to raise_error IO::WaitWritable
  end

  # More than the kernel keeps for a reader.
  let(:room) { 20_000_000 }

  it "lets others run until there is room" do
    size = room
    written = spin { writer.write("x" * size) }
    2.times { snooze }
    expect(written).to be_alive
    taken = 0
    taken += reader.readpartial(1_000_000).bytesize until taken == size
    expect(written.await).to eq size
  end

  it "stops writing when it is cancelled, and can be used again", :ours do
    victim = spin { writer.write("x" * 3_000_000) }
    2.times { snooze }
    victim.stop
    victim.await
    ending = spin { writer.write("end"); writer.close }
    expect(reader.read).to match(/\Ax+end\z/)
    ending.await
  end
end

# What a write that was cut off says of itself.
RSpec.shared_examples "a writable io that tells how much went out" do
  it "tells how much of a write went out that was cancelled" do
    victim = spin { writer.write("x" * 1_000, "y" * 20_000_000) rescue $!.bytes_written } # rubocop:disable Style/RescueModifier
    got = reader.readpartial(1_000)
    2.times { snooze }
    victim.raise(KeyError)
    expect(out = victim.await).to be_between(1_000, 20_000_999)
    expect(got.bytesize + reader.read(out - got.bytesize).bytesize).to eq out
    expect(reader.read_nonblock(1, exception: false)).to eq :wait_readable
  end

  it "tells it also where the time was up" do
    told = []
    begin
      cancel_after(0.002) { writer.write("x" * 20_000_000) }
    rescue Polyphony::Cancel => e
      told << e.bytes_written
    end
    expect(reader.read(told.first).bytesize).to be >= 1
    expect(reader.read_nonblock(1, exception: false)).to eq :wait_readable
  end
end
