# frozen_string_literal: true

RSpec.describe Polyphony::Extensions::IO::Files do
  def fifo
    in_directory do |directory|
      path = File.join(directory, "fifo")
      File.mkfifo(path)
      yield path
    end
  end

  everywhere "the main fiber", "a spun fiber" do
    it "lets others run while a FIFO has no writer, or nothing to read" do
      fifo do |path|
        reading = spin { IO.read(path) }
        2.times { snooze }
        writer = File.open(path, "w")
        2.times { snooze }
        writer << "foo"
        writer.close
        expect(reading.await).to eq "foo"
      end
    end

    it "lets others run while a FIFO has no reader" do
      fifo do |path|
        writing = spin { File.write(path, "foo") }
        2.times { snooze }
        expect(File.open(path, &:read)).to eq "foo"
        expect(writing.await).to eq 3
      end
    end

    it "yields the lines of a FIFO, and ends with a break" do
      fifo do |path|
        lines = spin { [].tap { |all| IO.foreach(path, chomp: true) { |line| all << line } } }
        IO.write(path, "one\ntwo\n")
        expect(lines.await).to eq %w[one two]
        first = spin { IO.foreach(path) { |line| break line } }
        IO.write(path, "one\ntwo\n")
        expect(first.await).to eq "one\n"
      end
    end

    it "can be cancelled while it waits for a writer" do
      fifo do |path|
        victim = spin { IO.readlines(path) }
        2.times { snooze }
        victim.stop
        expect(victim.await).to be_nil
      end
    end

    it "reads a command's output, with its status, while others run" do
      ticks = 0
      ticker = spin { loop { ticks += 1; sleep 0 } }
      out = IO.popen("read line; echo $line; exit 3", "r+") { |io| io.puts "hello"; io.close_write; io.read }
      ticker.stop
      ticker.await
      expect([out, $?.exitstatus]).to eq ["hello\n", 3]
      expect(ticks).to be > 2
    end

    it "waits for a command whose IO is closed, while others run" do
      gate, opener = pipe
      io = IO.popen(["cat"], in: gate)
      closing = spin { io.close; $?.exitstatus }
      3.times { snooze }
      expect(closing.dead?).to be false
      opener.close
      expect(closing.await).to eq 0
    end
  end

  it "gives the value of a popen's block, and its break" do
    expect(IO.popen("true") { 42 }).to eq 42
    expect(IO.popen("true") { break 43 }).to eq 43
  end
end
