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
end
