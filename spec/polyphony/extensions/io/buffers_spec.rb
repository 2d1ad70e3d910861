# frozen_string_literal: true

RSpec.describe Polyphony::RawBuffer do
  let(:ends) { pipe }
  let(:reader) { ends[0] }
  let(:writer) { ends[1] }
  let(:backend) { Thread.current.backend }

  it "holds no more than it has room for" do
    writer << "x" * 65
    Polyphony.__with_raw_buffer__(64) do |buffer|
      expect([reader.read(64, buffer), reader.readpartial(64, buffer), Polyphony.__raw_buffer_size__(buffer)]).to eq [64, 1, 64]
      expect(Polyphony.__raw_buffer_get__(buffer)).to eq "x"
      writer.close
      expect(reader.read(64, buffer)).to be_nil
    end
  end

  it "is filled by hand, and written" do
    Polyphony.__with_raw_buffer__(4) do |buffer|
      Polyphony.__raw_buffer_set__(buffer, "abcd")
      expect(Polyphony.__raw_buffer_get__(buffer, 2)).to eq "ab"
      expect { Polyphony.__raw_buffer_set__(buffer, "abcde") }.to raise_error RuntimeError
      backend.write(writer, buffer)
      writer << buffer
      expect(reader.readpartial(9)).to eq "abcdabcd"
    end
  end

  it "cannot be of a size that is none" do
    expect { Polyphony.__with_raw_buffer__(-1) { nil } }.to raise_error ArgumentError
  end
end
