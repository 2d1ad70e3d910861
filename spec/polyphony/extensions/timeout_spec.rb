# frozen_string_literal: true

RSpec.describe "Timeout.timeout" do
  everywhere do
    it "raises Timeout::Error with its message" do
      expect { Timeout.timeout(0.002) { sleep } }.to raise_error Timeout::Error, "execution expired"
      expect { Timeout.timeout(0.002, IOError) { sleep } }.to raise_error IOError, "execution expired"
      expect { Timeout.timeout(0.002, IOError, "late") { sleep } }.to raise_error IOError, "late"
    end

    it "yields the seconds and returns the block's value" do
      expect(Timeout.timeout(5) { |seconds| [seconds, :value] }).to eq [5, :value]
      expect(Timeout.timeout(nil) { |seconds| [seconds, :value] }).to eq [nil, :value]
      expect(Timeout.timeout(0) { :value }).to eq :value
    end
  end

  it "ends a read, and the next one finds the bytes" do
    reader, writer = pipe
    expect { Timeout.timeout(0.002) { reader.gets } }.to raise_error Timeout::Error
    writer << "later\n"
    expect(reader.gets).to eq "later\n"
  end
end
