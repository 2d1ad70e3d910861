# frozen_string_literal: true

RSpec.describe Polyphony::Looping do
  { "a pipe" => :pipe, "a TCP connection" => :tcp_pair, "a UNIX connection" => :unix_pair }.each do |name, pair|
    describe name do
      everywhere do
        let!(:ends) { public_send(pair) }
        let(:reader) { ends[0] }
        let(:writer) { ends[1] }

        it_behaves_like "a looping stream"
      end
    end
  end

  it "yields lines without their ends where that is asked for" do
    reader, writer = pipe
    writer << "one\ntwo"
    writer.close
    lines = []
    reader.gets_loop(chomp: true) { |line| lines << line }
    expect(lines).to eq %w[one two]
  end

  it "yields text in the encoding of the IO" do
    reader, writer = pipe
    writer << "é"
    expect(reader.read_loop { |piece| break piece }).to eq "é"
  end
end
