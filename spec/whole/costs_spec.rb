# frozen_string_literal: true

require "objspace"

# What a unit of work may cost, in what can be counted: objects, switches, turns of the loop. bin/bench tells of
# time, on a machine that is quiet; these hold on every machine.
RSpec.describe "What things cost" do
  before { GC.disable }
  after { GC.enable }

  # Objects a unit, when the same has been done before.
  def objects(units)
    yield
    before = GC.stat(:total_allocated_objects)
    yield
    (GC.stat(:total_allocated_objects) - before).fdiv(units)
  end

  def stats = Thread.current.backend.stats

  # How much a counter grows a unit.
  def counted(counter, units)
    before = stats.fetch(counter)
    yield
    (stats.fetch(counter) - before).fdiv(units)
  end

  # Fiber, Proc and its frame; who awaits it, and what is awaited.
  it "a fiber that is spun and awaited: five objects" do
    expect(objects(200) { 200.times { spin { nil }.await } }).to be < 5.5
  end

  it "a fiber among many that are awaited together: three objects" do
    expect(objects(500) { Fiber.await(Array.new(500) { spin { nil } }) }).to be < 3.5
  end

  it "a message: no object, one switch" do
    count = 500
    pong = spin { loop { receive << true } }
    ping = lambda do
      me = Fiber.current
      count.times do
        pong << me
        receive
      end
    end
    expect(objects(2 * count) { ping.call }).to be < 0.1
    expect(counted(:switch_count, 2 * count) { ping.call }).to be < 1.1
    pong.stop
  end

  it "an item of a queue: no object, one switch" do
    queue = Queue.new
    consumer = spin { loop { queue.shift } }
    feed = lambda do
      100.times { queue << true }
      snooze until queue.empty?
    end
    expect(objects(100) { feed.call }).to be < 0.1
    expect(counted(:switch_count, 100) { feed.call }).to be < 2.2
    consumer.stop
  end

  describe "a large piece from a pipe" do
    let(:chunk) { "x" * 16_384 }

    # Pieces that come, one after the other.
    def pieces(count)
      reader, writer = pipe
      got = []
      drain = spin { reader.read_loop(65_536) { |piece| got << piece } }
      count.times { writer.write(chunk) }
      writer.close
      drain.await
      got
    end

    it "one string, no larger than what came, and a turn of the loop" do
      got = []
      expect(counted(:poll_count, 200) { got = pieces(200) }).to be < 1.2
      expect(got.sum(&:bytesize)).to eq 200 * chunk.bytesize
      expect(got.map { |piece| ObjectSpace.memsize_of(piece) - piece.bytesize }.max).to be < 1_200
      expect(objects(200) { pieces(200) }).to be < 1.5
    end
  end
end
