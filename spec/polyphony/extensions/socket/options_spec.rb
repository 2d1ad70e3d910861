# frozen_string_literal: true

RSpec.describe Polyphony::Extensions::SocketOptions do
  it "are set by name, and give the socket" do
    left, = tcp_pair
    expect(left.no_delay.dont_linger.reuse_addr.reuse_port).to equal left
    expect(left.getsockopt(:TCP, :NODELAY).bool).to be true
    expect([:REUSEADDR, :REUSEPORT].map { |name| left.getsockopt(:SOCKET, name).bool }).to eq [true, true]
  end
end
