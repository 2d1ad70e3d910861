# frozen_string_literal: true

MADE_BEFORE_THE_SCHEDULER = Queue.new

RSpec.describe Thread::Queue do
  everywhere do
    it_behaves_like("a queue") { let!(:queue) { Queue.new } }
  end

  it "is the class that it always was, also under its old name" do
    expect([Queue, Polyphony::Queue]).to all equal(Thread::Queue)
  end

  it "works where it was made before there was a scheduler" do
    popper = spin { MADE_BEFORE_THE_SCHEDULER.pop }
    snooze
    MADE_BEFORE_THE_SCHEDULER << 1
    expect(popper.await).to eq 1
  end

  it "may be subclassed" do
    doubling = Class.new(Queue) do
      def push(item) = super(item * 2)
      def pop(...) = super + 1
    end
    queue = doubling.new
    popper = spin { queue.pop }
    2.times { snooze }
    queue.push(3)
    expect(popper.await).to eq 7
  end

  it "serves fibers where it is frozen and Ruby permits that", if: RUBY_VERSION < "3.3" do
    queue = Queue.new.freeze
    popper = spin { queue.pop }
    2.times { snooze }
    queue << 1
    expect(popper.await).to eq 1
  end

  it "gives everything that is there at once" do
    expect(Queue.new([1, 2]).shift_all).to eq [1, 2]
  end
end

RSpec.describe Thread::SizedQueue do
  everywhere do
    it_behaves_like("a queue") { let!(:queue) { SizedQueue.new(5) } }

    it "makes a pusher wait for room" do
      queue = SizedQueue.new(1)
      queue << 1
      pusher = spin { queue << 2; :pushed }
      2.times { snooze }
      expect(pusher.state).to eq :waiting
      expect([queue.pop, pusher.await, queue.pop]).to eq [1, :pushed, 2]
    end

    it "leaves the room to the next pusher when the first is cancelled" do
      queue = SizedQueue.new(1)
      queue << 1
      first = spin { queue << 2 }
      second = spin { queue << 3 }
      2.times { snooze }
      expect(queue.pop).to eq 1
      first.stop
      Fiber.await(first, second)
      expect([queue.pop, queue.size]).to eq [3, 0]
    end

    it "raises in pushers when it is closed" do
      queue = SizedQueue.new(1)
      queue << 1
      pusher = spin { queue << 2 rescue $!.class }
      2.times { snooze }
      queue.close
      expect(pusher.await).to eq ClosedQueueError
    end

    it "never holds more than it may" do
      queue = SizedQueue.new(3)
      most = 0
      pushers = 5.times.map { spin { 50.times { |number| queue << number; most = [most, queue.size].max } } }
      taken = 250.times.map { queue.pop }
      Fiber.await(*pushers)
      expect([taken.size, most]).to eq [250, 3]
    end
  end

  it "gives up pushing when the time is up" do
    queue = SizedQueue.new(1)
    expect([queue.push(1, timeout: 1), queue.push(2, timeout: 0.002), queue.size]).to eq [queue, nil, 1]
  end

  it "makes room when it is cleared or made larger" do
    queue = SizedQueue.new(1)
    queue << 1
    pushers = 2.times.map { spin { queue << 2 } }
    2.times { snooze }
    queue.clear
    queue.max = 2
    Fiber.await(*pushers)
    expect(queue.size).to eq 2
  end
end
