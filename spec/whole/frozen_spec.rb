# frozen_string_literal: true

require "tempfile"
require "zlib"

# What Ruby's scheduler hooks do not see everywhere, and must not hold the thread all the same: each is counted in
# turns that another fiber got meanwhile.
RSpec.describe "While something takes long, other fibers run:" do
  def turns_during
    turns = 0
    ticker = spin { loop { turns += 1; snooze } }
    snooze
    before = turns
    value = yield
    [value, turns - before]
  ensure
    ticker.stop
    ticker.await
  end

  def at_a_path
    in_directory { |directory| yield File.join(directory, "file") }
  end

  def fifo
    at_a_path { |path| File.mkfifo(path); yield path }
  end

  # Has the other end opened by a process that waits until others had turns here.
  def other_end(path, command)
    reader, writer = IO.pipe
    pid = spawn({ "FIFO" => path }, "read line; #{command}", in: reader)
    teller = spin { 20.times { snooze }; writer << "\n" }
    yield
  ensure
    teller&.await
    Process.wait(pid) if pid
    [reader, writer].each(&:close)
  end

  everywhere "the main fiber", "a spun fiber" do
    before { Polyphony.scheduler! }

    {
      "File.open of a FIFO" => ->(path) { File.open(path, &:read) }, "File.new of a FIFO" => ->(path) { File.new(path).then { |file| [file.read, file.close].first } },
      "open of a FIFO" => ->(path) { open(path, &:read) },
      "IO.sysopen of a FIFO" => ->(path) { IO.for_fd(IO.sysopen(path)).then { |io| [io.read, io.close].first } }
    }.each do |name, opening|
      it name do
        fifo do |path|
          other_end(path, 'printf through > "$FIFO"') do
            value, turns = turns_during { opening.call(path) }
            expect([value, turns > 2]).to eq ["through", true]
          end
        end
      end
    end

    it "a lock that another has" do
      at_a_path do |path|
        holder, other = Array.new(2) { File.open(path, "w") }
        holder.flock(File::LOCK_EX)
        spin { 20.times { snooze }; holder.flock(File::LOCK_UN) }
        value, turns = turns_during { other.flock(File::LOCK_EX) }
        expect([value, turns > 2]).to eq [0, true]
        expect(holder.flock(File::LOCK_EX | File::LOCK_NB)).to be false
      ensure
        [holder, other].each(&:close)
      end
    end

    it "fsync and fdatasync" do
      at_a_path do |path|
        File.open(path, "w") do |file|
          file << "some"
          expect(turns_during { file.fsync }).to match [0, be > 0]
          expect(turns_during { file.fdatasync }).to match [0, be > 0]
        end
      end
    end

    it "large calls of Zlib" do
      data = Random.bytes(1024 * 1024)
      deflated, turns = turns_during { Zlib.deflate(data) }
      expect(turns).to be > 0
      expect(turns_during { Zlib.inflate(deflated) == data }).to match [true, be > 0]
      zipped, turns = turns_during { Zlib.gzip(data, level: 1) }
      expect(turns).to be > 0
      expect(turns_during { Zlib.gunzip(zipped) == data }).to match [true, be > 0]
    end

    it "IO.select" do
      reader, writer = pipe
      spin { 20.times { snooze }; writer << "x" }
      expect(turns_during { IO.select([reader]).first == [reader] }).to match [true, be > 2]
    end

    it "send" do
      left, right = UNIXSocket.pair
      filled = left.write_nonblock("x" * 1_000_000)
      taker = spin { 20.times { snooze }; right.read(filled) }
      expect(turns_during { left.send("y", 0) }).to match [1, be > 2]
      taker.await
    ensure
      [left, right].each(&:close)
    end
  end
end
