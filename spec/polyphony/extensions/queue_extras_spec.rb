# frozen_string_literal: true

RSpec.describe Polyphony::Extensions::QueueExtras do
  let(:queue) { Thread::Queue.new([1, 2, 1]) }

  everywhere "the main fiber", "a thread" do
    it "puts items first, and takes equal ones out" do
      expect([queue.unshift(0).delete(1), queue.shift_all]).to eq [queue, [0, 2]]
    end

    it "yields everything that is there" do
      seen = []
      expect(queue.shift_each { |item| seen << item }).to equal queue
      expect([seen, queue.empty?]).to eq [[1, 2, 1], true]
    end
  end

  it "wakes whoever waits by what is put first" do
    empty = Thread::Queue.new
    waiter = spin { empty.shift }
    2.times { snooze }
    expect(empty.pending?).to be true
    empty.unshift(:first)
    expect([waiter.await, empty.pending?, queue.pending?]).to eq [:first, false, false]
  end

  it "refuses to change a closed queue, and loses nothing" do
    queue.close
    expect { queue.unshift(0) }.to raise_error ClosedQueueError
    expect(queue.shift_all).to eq [1, 2, 1]
  end

  it "keeps the order for whoever looks meanwhile from another thread" do
    most = 200
    queue = Thread::Queue.new([0])
    seen = []
    watcher = Thread.new { most.times { seen << queue.size } }
    most.times { |number| queue.unshift(number) }
    watcher.join
    expect(seen).to all be_positive
  end

  it "puts everything back where a comparison fails" do
    hostile = Object.new.tap { |item| item.define_singleton_method(:==) { |_| raise IOError, "compared" } }
    queue = Thread::Queue.new([1, hostile, 2])
    expect { queue.delete(3) }.to raise_error IOError, "compared"
    expect(queue.shift_all).to eq [1, hostile, 2]
  end

  describe "#flush_waiters" do
    def waiting(count) = Array.new(count) { spin { empty.shift } }.each { 2.times { snooze } }

    let(:empty) { Thread::Queue.new }

    it "ends every wait with the value" do
      waiters = waiting(2)
      expect(empty.flush_waiters(:flushed)).to equal empty
      expect([Fiber.await(*waiters), empty.num_waiting]).to eq [%i[flushed flushed], 0]
    end

    it "raises an exception in whoever waits" do
      failed, moved = waiting(2)
      empty.flush_waiters(Polyphony::MoveOn.new(:moved))
      expect([failed.await, moved.await]).to eq %i[moved moved]
      failed, = waiting(1)
      empty.flush_waiters(IOError.new("flushed"))
      expect { failed.await }.to raise_error IOError, "flushed"
    end

    it "ends no later wait, and takes no item" do
      waiter = spin { [empty.shift, empty.shift] }
      2.times { snooze }
      empty.flush_waiters(:flushed)
      empty << :item
      expect([waiter.await, empty.size]).to eq [%i[flushed item], 0]
    end

    it "gives way to what is raised meanwhile" do
      waiter, = waiting(1)
      empty.flush_waiters(:flushed)
      waiter.stop(:stopped)
      expect(waiter.await).to eq :stopped
    end

    it "reaches fibers of other threads" do
      ready = Thread::Queue.new
      thread = Thread.new { fiber = spin { empty.shift }; snooze; ready << :ready; fiber.await }
      ready.shift
      Thread.pass until empty.num_waiting == 1
      empty.flush_waiters(:flushed)
      expect(thread.value).to eq :flushed
    end

    it "does nothing where nobody waits" do
      empty.flush_waiters(:flushed)
      empty << :item
      expect(empty.shift).to eq :item
    end
  end
end
