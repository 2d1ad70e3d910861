# frozen_string_literal: true

MADE_BEFORE_THE_SCHEDULER = Queue.new

# What other threads may do while the first wait at a queue is made ready, done where Ruby is called for that.
RSpec.shared_examples "the first wait at a queue" do
  def meanwhile(queue, &block)
    queue.define_singleton_method(:closed?) do
      singleton_class.remove_method(:closed?)
      super().tap(&block)
    end
  end

  it "shares it with a thread that comes meanwhile" do
    other = nil
    meanwhile(queue) do
      other = Thread.new { queue.pop }
      Thread.pass until other.status == "sleep"
    end
    popper = spin { queue.pop }
    snooze until other
    [1, 2].each { |item| queue << item }
    expect([popper.await, other.value]).to contain_exactly 1, 2
  end

  it "forgets nothing that another thread pushes while it counts" do
    queue.define_singleton_method(:size) do
      singleton_class.remove_method(:size)
      super().tap do
        other = Thread.new { 2.times { |item| push(item) } }
        Thread.pass while other.alive?
      end
    end
    expect(Array.new(2) { spin { queue.pop } }.map(&:await)).to contain_exactly 0, 1
  end

  it "ends where another thread closes the queue meanwhile" do
    meanwhile(queue) { Thread.new { queue.close }.join }
    expect(queue.pop).to be_nil
  end
end

# What another thread raises is heard as Ruby's own method returns.
RSpec.shared_examples "a queue in a thread that hears of an exception" do
  def raised_as_it_returns(name, &block)
    raising = TracePoint.new(:c_return) do |call|
      next unless call.method_id == name && call.self.equal?(queue)

      raising.disable
      raise IOError, "from elsewhere"
    end
    expect { raising.enable(&block) }.to raise_error IOError
  end

  it "has its item for who waits for it" do
    popper = spin { queue.pop }
    snooze
    raised_as_it_returns(:push) { queue.push(1) }
    expect(popper.await).to eq 1
  end

  it "gives others what is there" do
    queue.push(1)
    queue.push(2)
    raised_as_it_returns(:pop) { queue.pop }
    left = queue.size
    expect(Array.new(left) { spin { queue.pop } }.map(&:await)).to eq [1, 2].last(left)
  end
end

RSpec.describe Thread::Queue do
  everywhere do
    it_behaves_like("a queue") { let!(:queue) { Queue.new } }
  end

  it_behaves_like("the first wait at a queue") { let!(:queue) { Queue.new } }
  it_behaves_like("a queue in a thread that hears of an exception") { let!(:queue) { Queue.new } }

  it "is waited at first by two threads at once" do
    expect(Child.ruby!(<<~RUBY)).to eq "true\n"
      other = nil
      in_between = TracePoint.new(:call, :c_call) do |call|
        next if call.method_id != :const_get || other

        other = Thread.new { Queue.new.pop(timeout: 0.001) || true }
        Thread.pass until other.stop?
      end
      spin {}.await
      in_between.enable { Queue.new.pop(timeout: 0.001) }
      p(other.nil? || other.value)
    RUBY
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

  everywhere do
    it_behaves_like("a queue") { let!(:queue) { Queue.new(5) } }
    it_behaves_like("a capped queue") { let(:make) { ->(room) { Queue.new(room) } } }
  end

  describe "#cap" do
    it "limits it as Queue.new does, until it is taken away" do
      queue = Queue.new(42)
      expect([queue.capped?, queue.cap(3).capped?, queue.cap(0).capped?, Queue.new.capped?]).to eq [42, 3, nil, nil]
      expect(queue.cap(3).cap(nil).capped?).to be_nil
    end

    it "refuses what is no number of items" do
      expect { Queue.new(-1) }.to raise_error ArgumentError, "a cap cannot be negative"
      expect { Queue.new.cap("three") }.to raise_error TypeError
      expect { Queue.new.freeze.cap(1) }.to raise_error(RUBY_VERSION < "3.3" ? FrozenError : TypeError)
    end

    it "lets everybody in when it is taken away" do
      queue = Queue.new(1).push(1)
      pushers = (2..4).map { |number| spin { queue << number } }
      2.times { snooze }
      queue.cap(nil)
      Fiber.await(*pushers)
      expect(queue.shift_all).to eq [1, 2, 3, 4]
    end

    it "counts those who wait for an item, not those who wait for room" do
      queue = Queue.new(1).push(1)
      pusher = spin { queue << 2 }
      2.times { snooze }
      expect([queue.num_waiting, queue.pending?]).to eq [0, false]
      queue.cap(nil)
      pusher.await
    end

    it "needs no fiber where there is room" do
      thread = Thread.new { Queue.new(1) << 1; Polyphony.scheduler }
      expect(thread.value).to be_nil
    end

    it "makes a mailbox push back" do
      receiver = spin { suspend; 4.times.map { receive } }
      receiver.mailbox.cap(2)
      sent = []
      sender = spin { 4.times { |number| receiver << number; sent << number } }
      5.times { snooze }
      expect([sent, sender.state]).to eq [[0, 1], :waiting]
      receiver.schedule
      expect([receiver.await, sender.await, sent]).to eq [[0, 1, 2, 3], 4, [0, 1, 2, 3]]
    end
  end

  # A pusher and a popper take turns, also where there is room and where there is something: nobody holds the
  # thread with a loop over a queue.
  describe "with a cap, in the order in which things happen," do
    let(:order) { [] }
    let(:queue) { Queue.new(2) }

    def pusher(tag, *items) = spin(tag) { items.each { |item| queue << item; order << [tag, item] } }
    def popper(count) = spin { count.times { order << queue.shift } }

    it "pushes once a turn" do
      pusher(:a, 1, 2)
      order << :spun
      3.times { snooze; order << :turn }
      expect(order).to eq [:spun, :turn, [:a, 1], :turn, [:a, 2], :turn]
    end

    it "lets a pusher and a popper alternate" do
      Fiber.await(pusher(:a, 1, 2, 3, 4), popper(4))
      expect(order).to eq [[:a, 1], 1, [:a, 2], 2, [:a, 3], 3, [:a, 4], 4]
    end

    it "lets a popper that comes late find as much as there was room for" do
      a = pusher(:a, 1, 2, 3, 4)
      4.times { snooze }
      order << :full
      Fiber.await(a, popper(4))
      expect(order).to eq [[:a, 1], [:a, 2], :full, 1, [:a, 3], 2, [:a, 4], 3, 4]
    end

    it "lets pushers take turns" do
      fibers = [pusher(:a, 1, 2, 3), pusher(:b, 4, 5, 6), popper(6)]
      Fiber.await(*fibers)
      expect(order.reject { |event| event.is_a?(Integer) }).to eq [[:a, 1], [:b, 4], [:a, 2], [:b, 5], [:a, 3], [:b, 6]]
      expect(order.grep(Integer)).to eq [1, 4, 2, 5, 3, 6]
    end

    it "goes on pushing after it was cleared, and after an item was deleted" do
      a = pusher(:a, 1, 2, 3, 4, 5)
      4.times { snooze }
      order << :full
      queue.delete(2)
      3.times { snooze }
      order << :full
      queue.clear
      a.await
      expect([order, queue.shift_all]).to eq [[[:a, 1], [:a, 2], :full, [:a, 3], :full, [:a, 4], [:a, 5]], [4, 5]]
    end
  end
end

RSpec.describe Thread::SizedQueue do
  it_behaves_like("the first wait at a queue") { let!(:queue) { SizedQueue.new(2) } }
  it_behaves_like("a queue in a thread that hears of an exception") { let!(:queue) { SizedQueue.new(2) } }

  it "has its room for who waits for it where a thread hears of an exception as it pops" do
    queue = SizedQueue.new(1)
    queue.push(1)
    pusher = spin { queue.push(2) }
    snooze
    raising = TracePoint.new(:c_return) do |call|
      raising.disable && raise(IOError) if call.method_id == :pop && call.self.equal?(queue)
    end
    expect { raising.enable { queue.pop } }.to raise_error IOError
    expect(pusher.await).to equal queue
  end

  everywhere do
    it_behaves_like("a queue") { let!(:queue) { SizedQueue.new(5) } }
    it_behaves_like("a capped queue") { let(:make) { ->(room) { SizedQueue.new(room) } } }
  end

  it "gives up pushing when the time is up" do
    queue = SizedQueue.new(1)
    expect([queue.push(1, timeout: 1), queue.push(2, timeout: 0.002), queue.size]).to eq [queue, nil, 1]
  end

  it "gives what is there without a turn of the others', but not before those who wait" do
    queue = SizedQueue.new(2)
    order = []
    waiting = spin { order << [:waited, queue.pop] }
    snooze
    queue << 1 << 2
    spin { order << :other }
    order << [:second, queue.pop]
    waiting.await
    queue << 3
    spin { order << :another }
    order << [:at_once, queue.pop]
    snooze
    expect(order).to eq [[:waited, 1], :other, [:second, 2], [:at_once, 3], :another]
  end

  it "lets pushers know of room where it is frozen and Ruby permits that", if: RUBY_VERSION < "3.3" do
    queue = SizedQueue.new(1) << 1
    pusher = spin { queue << 2 << 3 }
    2.times { snooze }
    queue.freeze
    popper = spin { Array.new(3) { queue.pop } }
    expect([popper.await, pusher.await.size]).to eq [[1, 2, 3], 0]
  end

  it "has the cap that it was made with, always" do
    queue = SizedQueue.new(2)
    expect([queue.capped?, queue.cap(3).max, queue.capped?]).to eq [2, 3, 3]
    expect { queue.cap(nil) }.to raise_error(TypeError)
    expect { queue.cap(0) }.to raise_error(ArgumentError, "queue size must be positive")
  end
end
