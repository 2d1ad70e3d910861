# frozen_string_literal: true

require "tmpdir"
require "fileutils"

# What Ruby buffers on its way to the kernel: it comes there once, whatever happens in between, and a little of it
# at once.
RSpec.describe "What Ruby buffers of what is written" do
  before { Polyphony.scheduler! }

  around { |example| Dir.mktmpdir { |directory| @path = File.join(directory, "file"); example.run } }

  # A pipe that has room for so many bytes, and the bytes that it holds.
  def nearly_full(room)
    reader, writer = pipe
    writer.sync = true
    held = writer.write_nonblock("-" * 1_000_000) - room
    reader.readpartial(room)
    writer.sync = false
    [reader, writer, held]
  end

  it "is written to its end by a flush after one that was cancelled in the middle" do
    reader, writer, held = nearly_full(4096)
    text = (0...1_500).map { |number| format("%04d ", number) }.join
    writer << text
    flushing = spin { writer.flush }
    3.times { snooze }
    expect(flushing).to be_alive
    flushing.stop
    flushing.await
    rest = spin { writer.close }
    expect(reader.read == "-" * held + text).to be true
    rest.await
  end

  it "comes once, where writes to a file are cancelled at any moment" do
    wanted = +""
    told = 0
    File.open(@path, "w") do |file|
      400.times do |number|
        piece = number.to_s.rjust([10, 3_000, 9_000, 70_000].sample(random: random), ".")
        wanted << piece
        left = piece
        until left.empty?
          writing = spin { left = left.byteslice(file.write(left)..) }
          random.rand(3).times { snooze }
          writing.alive? && writing.raise(KeyError)
          begin
            writing.await
          rescue KeyError => e
            told += 1
            left = left.byteslice((e.bytes_written || 0)..)
          end
        end
      end
    end
    expect(told).to be > 0
    expect(File.binread(@path) == wanted).to be true
  end

  it "stays in order where several fibers write and others ask for the position" do
    lines = 0
    File.open(@path, "w") do |file|
      writers = %w[a b c].map { |letter| spin { 60.times { |number| file.puts letter * [5, 4_000, 80_000][number % 3]; snooze } } }
      asking = spin { loop { file.pos; snooze } }
      while writers.any?(&:alive?)
        file.pos
        snooze
      end
      asking.stop
      Fiber.await(*writers)
    end
    File.foreach(@path, chomp: true) { |line| lines += 1; expect([[5, 4_000, 80_000].include?(line.size), line.squeeze.size]).to eq [true, 1] }
    expect(lines).to eq 180
  end

  it "is out before stock code of another thread goes on behind it" do
    File.open(@path, "w") do |file|
      file << "x" * 5_000
      writing = spin { file << "y" * 3_000_000 }
      snooze
      Thread.new { file.flush; file.write("z") }.join
      writing.await
    end
    expect(File.read(@path).squeeze).to eq("xyz").or eq("xzy")
    expect(File.size(@path)).to eq 3_005_001
  end

  it "has no places in a stream" do
    reader, writer = pipe
    expect { writer.pwrite("x", 1) }.to raise_error Errno::ESPIPE
    writer << "x"
    [1, 1_000_000].each { |length| expect { reader.pread(length, 0) }.to raise_error Errno::ESPIPE }
    expect(reader.readpartial(9)).to eq "x"
  end

  # Operations of the kernel's that fibers waited for.
  def operations
    Thread.current.backend.stats # it counts from here
    yield
    Thread.current.backend.stats[:op_count]
  end

  # The names are in the kernel's memory: it need not look on a disk for what there is not.
  describe "costs nothing but its system calls, where it is little:" do
    before { File.write(@path, "") }

    it "a small file that is written, and closed" do
      expect(operations { File.open(@path, "w") { |file| 20.times { file << "a line\n" } } }).to eq 0
    end

    it "a line for a log that buffers nothing" do
      File.open(@path, "w") do |file|
        file.sync = true
        expect(operations { 3.times { file << "a line\n" } }).to be <= 1
      end
    end

    it "pread and pwrite of what is in memory" do
      File.write(@path, "x" * 10_000)
      File.open(@path, "r+") do |file|
        expect(operations { 20.times { file.pread(4096, 100) } }).to eq 0
        expect(operations { 3.times { file.pwrite("y" * 100, 100) } }).to be <= 1
      end
    end

    it "File.read, File.write and Dir.children" do
      expect(operations { File.write(@path, "x" * 10_000); File.read(@path); Dir.children(File.dirname(@path)) }).to eq 0
    end
  end
end
