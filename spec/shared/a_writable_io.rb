# frozen_string_literal: true

# What every writable stream does; `reader` and `writer` are its two ends.
RSpec.shared_examples "a writable io" do
  it "writes all of what does not fit at once" do
    data = random.bytes(2_000_000)
    written = spin { writer.write(data).tap { writer.close } }
    expect(reader.read.b == data).to be true
    expect(written.await).to eq data.bytesize
  end

  it "keeps large writes of two fibers apart" do
    fibers = %w[a b].map { |letter| spin { writer.write(letter * 300_000, letter * 300_000) } }
    spin { Fiber.await(*fibers); writer.close }
    expect(reader.read.squeeze.size).to eq 2
  end

  it "writes what was there when it was called, whatever becomes of the string" do
    text = "x" * 300_000
    fiber = spin { writer.write(text); writer.close }
    snooze
    text.replace("y" * 300_000)
    expect(reader.read == "x" * 300_000).to be true
    fiber.await
  end

  it "says EPIPE where nobody reads" do
    reader.close
    expect { 3.times { writer.write("x" * 100_000) } }.to raise_error(an_instance_of(Errno::EPIPE).or(an_instance_of(Errno::ECONNRESET)))
  end

  it "stops writing when it is cancelled, and can be used again" do
    victim = spin { writer.write("x" * 3_000_000) }
    2.times { snooze }
    victim.stop
    victim.await
    again = spin { writer.write("again"); writer.close }
    expect(reader.read).to match(/\Ax+again\z/)
    again.await
  end
end
