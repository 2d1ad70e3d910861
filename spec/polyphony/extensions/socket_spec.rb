# frozen_string_literal: true

RSpec.describe BasicSocket do
  everywhere do
    sockets

    it "lets others run while recvfrom waits, and gives what an earlier read left" do
      left, right = UNIXSocket.pair
      [tcp_pair, [left, right]].each do |reader, writer|
        spin { writer.write("line\nrest") }
        expect([reader.gets, reader.recvfrom(9).first]).to eq %W[line\n rest]
        spin { writer.write("sent") }
        expect(reader.recvfrom(9).first).to eq "sent"
      end
      [left, right].each(&:close)
    end
  end
end
