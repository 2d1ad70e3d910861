# frozen_string_literal: true

RSpec.describe "polyphony" do
  it "gives a thread its scheduler at its first call that only Polyphony has" do
    out = Child.ruby!(<<~RUBY)
      sleep 0
      Queue.new([1]).pop
      Mutex.new.synchronize { `true` }
      print Polyphony.scheduler.inspect
      snooze
      print Polyphony.scheduler.class
    RUBY
    expect(out).to eq "nilPolyphony::Scheduler"
  end

  it "leaves Ractors alone that do not mention it" do
    out = Child.ruby!(<<~RUBY)
      Warning[:experimental] = false
      Polyphony.scheduler!
      ractor = Ractor.new do
        reader, writer = IO.pipe
        writer << "line\n"
        writer.close
        sleep 0
        did = [reader.gets, `echo command`, Mutex.new.synchronize { 1 }, Thread.new { 2 }.value, Queue.new([3]).pop]
        reader.close
        did << Polyphony.scheduler
      end
      p ractor.take
    RUBY
    expect(out).to eq %([\"line\\n\", \"command\\n\", 1, 2, 3, nil]\n)
  end

  # A method that define_method makes of a block belongs to the Ractor that made it.
  it "leaves a Ractor what reads and writes files, lists directories and compresses" do
    out = Child.ruby!(<<~RUBY)
      require "tmpdir"
      Warning[:experimental] = false
      Polyphony.scheduler!
      did = Dir.mktmpdir do |directory|
        Ractor.new(directory + "/file") do |path|
          [File.write(path, "x"), File.read(path), File.readlines(path), Dir.children(File.dirname(path)).size,
           Zlib.inflate(Zlib.deflate("y")), Zlib.crc32("z").positive?, Ractor.new { 5 }.then { |it| it.respond_to?(:take) ? it.take : it.value }]
        end.then { |it| it.respond_to?(:take) ? it.take : it.value }
      end
      p did
    RUBY
    expect(out).to eq %([1, "x", ["x"], 1, "y", true, 5]\n)
  end

  # One after the other: Ractors that make fibers at once crash Ruby, also without us.
  it "runs the fibers of each Ractor by a scheduler of its own" do
    out = Child.ruby!(<<~RUBY)
      Warning[:experimental] = false
      values = 2.times.map do
        ractor = Ractor.new do
          reader, writer = IO.pipe
          queue = Queue.new
          fibers = [spin { sleep 0.001; 1 }, spin { queue << 2 }, spin { writer.puts "line" }, spin { Thread.new { 3 }.value }]
          did = [queue.pop, reader.gets, `echo command`, Fiber.await(*fibers).last]
          did << move_on_after(0.001, with_value: :late) { sleep }
          begin
            cancel_after(0.001) { Mutex.new.synchronize { queue.pop } }
          rescue Polyphony::Cancel
            did << :cancelled
          end
          did << Addrinfo.tcp("localhost", 80).ip_port
        ensure
          [reader, writer].each(&:close)
        end
        ractor.respond_to?(:take) ? ractor.take : ractor.value
      end
      p values.uniq
    RUBY
    expect(out).to eq %([[2, \"line\\n\", \"command\\n\", 3, :late, :cancelled, 80]]\n)
  end
end
