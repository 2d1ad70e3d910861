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

  it "leaves other Ractors alone, and says there that it schedules none of their fibers" do
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
        [did, (spin { nil } rescue $!.message)]
      end
      p(*ractor.take)
    RUBY
    expect(out).to eq <<~TEXT
      ["line\\n", "command\\n", 1, 2, 3]
      "Polyphony runs fibers in the main Ractor only"
    TEXT
  end
end
