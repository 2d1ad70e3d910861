# frozen_string_literal: true

RSpec.describe Polyphony::Pipe do
  subject(:pipe) { Polyphony.pipe }
  let(:reader) { pipe }
  let(:writer) { pipe }

  after { [pipe.__reader__, pipe.instance_variable_get(:@writer)].each(&:close) }

  def hang_up = pipe.close_read

  everywhere do
    it_behaves_like "a looping stream"
    it_behaves_like("a readable io") { let(:nothing) { nil } }
    it_behaves_like "a readable io that waits"
    it_behaves_like "a writable io"
    it_behaves_like "a writable io that waits"
  end

  it "gives what was written, by every way of reading" do
    pipe << "line\n" << "rest"
    pipe.write("a", :b)
    pipe.close
    expect([pipe.gets, pipe.read(2), pipe.getc, pipe.getbyte, pipe.readpartial(9)]).to eq ["line\n", "re", "s", 116, "ab"]
  end

  it "lets others run until something is written" do
    waiting = spin { pipe.read(3) }
    2.times { snooze }
    pipe << "foo"
    expect(waiting.await).to eq "foo"
  end

  it "can be read to the end after it was closed, then says nil" do
    pipe << "foo"
    expect(pipe.close).to equal pipe
    expect([pipe.closed?, pipe.read, pipe.read, pipe.read(1), pipe.read(0), pipe.gets]).to eq [true, "foo", nil, nil, nil, nil]
  end

  it "refuses to be written to, or closed again, once it was closed" do
    pipe.close
    expect { pipe << "x" }.to raise_error Polyphony::Pipe::ClosedPipeError
    expect { pipe.close }.to raise_error RuntimeError
  end

  it "says EPIPE where its reading end was closed" do
    pipe.close_read
    expect { pipe << "x" }.to raise_error Errno::EPIPE
  end

  it "is not passed on to commands" do
    flags = [pipe.__reader__, pipe.__writer__].map(&:close_on_exec?)
    expect(flags).to eq [true, true]
    expect(pipe.fds).to eq [pipe.__reader__.fileno, pipe.__writer__.fileno]
  end

  it "is a source and a destination of IO.copy_stream" do
    other = Polyphony.pipe
    pipe << "foobar"
    pipe.close
    expect(IO.copy_stream(pipe, other)).to eq 6
    expect(other.close.read).to eq "foobar"
    other.close_read
  end

  it "waits for readiness and gives itself" do
    expect([pipe.wait_readable(0), pipe.wait_writable]).to eq [nil, pipe]
    pipe << "x"
    expect(pipe.wait_readable).to equal pipe
  end

  it "gives its characters and bytes, one by one" do
    pipe << "é€1"
    pipe.close
    characters = []
    expect(pipe.each_char { |character| characters << character; break :broken if characters.size == 2 }).to eq :broken
    expect([characters, pipe.readchar, pipe.each_byte.to_a, pipe.each_char.to_a]).to eq [%w[é €], "1", [], []]
    expect { pipe.readbyte }.to raise_error EOFError
    expect { pipe.sysread(1) }.to raise_error EOFError
    pipe.close_read
  end
end
