# frozen_string_literal: true

RSpec.describe Polyphony::ThreadPool do
  def with_pool(size = 2)
    pool = described_class.new(size)
    yield pool
  ensure
    pool.stop
  end

  everywhere "the main fiber", "a spun fiber", "a thread" do
    it "runs the block in another thread, while others run here" do
      ticks = 0
      ticker = spin { loop { ticks += 1; sleep 0.0005 } }
      with_pool do |pool|
        thread = pool.process { IO.select(nil, nil, nil, 0.01); Thread.current }
        expect(thread).not_to equal Thread.current
      end
      expect(ticks).to be > 1
      ticker.stop
      ticker.await
    end

    it "gives the value, or raises what the block raised" do
      with_pool do |pool|
        expect(pool.process { 1 + 1 }).to eq 2
        expect { pool.process { raise IOError, "there" } }.to raise_error IOError, "there"
      end
    end
  end

  it "uses all its threads" do
    with_pool(3) do |pool|
      here = Thread::Queue.new
      go = Thread::Queue.new
      jobs = Array.new(3) { spin { pool.process { here << Thread.current; go.pop } } }
      threads = Array.new(3) { here.pop }
      3.times { go << true }
      Fiber.await(*jobs)
      expect(threads.uniq.size).to eq 3
    end
  end

  it "casts without waiting" do
    with_pool do |pool|
      go = Thread::Queue.new
      done = Thread::Queue.new
      20.times { |number| expect(pool.cast { go.pop; done << number }).to equal pool }
      expect(pool.busy?).to be true
      20.times { go << true }
      expect(Array.new(20) { done.pop }).to match_array 0...20
    end
  end

  # An exception in a cast block ended its worker for good.
  it "outlives what a cast block raises, and says so" do
    earlier = $stderr
    $stderr = StringIO.new
    with_pool(1) do |pool|
      pool.cast { raise "in the cast" }
      expect(pool.process { :alive }).to eq :alive
    end
    expect($stderr.string).to include "in the cast"
  ensure
    $stderr = earlier
  end

  # A stopped caller's result went to the next one.
  # The thread ended by what its own fiber was told, and with the last of them the pool.
  it "outlives what a block leaves for the fiber that its thread began with" do
    pool = described_class.new(1)
    pool.process { Fiber.current.stop }
    pool.process { Fiber.current.raise("left") }
    expect(pool.process { :served }).to eq :served
    pool.stop
  end

  it "keeps a result from whoever did not ask for it" do
    with_pool(1) do |pool|
      go = Thread::Queue.new
      late = false
      fiber = spin { move_on_after(0.001) { pool.process { go.pop; :first } }; late = true; pool.process { :second } }
      sleep 0.001 until late
      go << true
      expect(fiber.await).to eq :second
    end
  end

  # After stop, process waited for ever.
  it "refuses more when it was stopped, and has run what it had" do
    pool = described_class.new(1)
    ran = []
    3.times { |number| pool.cast { ran << number } }
    pool.stop
    expect(ran).to eq [0, 1, 2]
    expect { pool.process { nil } }.to raise_error ClosedQueueError
    expect { pool.cast { nil } }.to raise_error ClosedQueueError
  end

  it "has one for everybody, which is made anew after a reset" do
    first = described_class.process { Thread.current }
    described_class.reset
    expect(described_class.process { Thread.current }).not_to equal first
  ensure
    described_class.reset
  end

  it "works in a forked child" do
    with_pool do |pool|
      expect(Child.forked { pool.process { :there } }).to eq :there
    end
  end

  it "needs threads and a block" do
    expect { described_class.new(0) }.to raise_error ArgumentError
    with_pool { |pool| expect { pool.process }.to raise_error ArgumentError }
  end

  # The original's design for Monocrono.
  it "serves 256 fibers that wait for messages, work in it and answer", limit: 60 do
    with_pool(4) do |pool|
      main = Fiber.current
      workers = Array.new(256) do |id|
        spin { receive_loop { |number| answer = pool.process { [id, number, (1..number).sum] }; main << answer } }
      end
      4.times { |round| workers.each_with_index { |worker, id| worker << (id + round) } }
      answers = Array.new(1024) { receive }
      expect(answers).to match_array(256.times.flat_map { |id| 4.times.map { |round| [id, id + round, (1..(id + round)).sum] } })
      workers.each(&:stop)
      Fiber.await(*workers)
    end
  end
end
