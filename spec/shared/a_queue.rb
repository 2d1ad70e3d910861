# frozen_string_literal: true

# What every queue does, whichever class, wherever it is used; stock Ruby's, too, but for what is marked `:ours`:
# cancelling, and the order among those who wait.
RSpec.shared_examples "a queue" do
  it "gives items in the order in which they came" do
    3.times { |number| queue << number }
    expect([queue.pop, queue.shift, queue.deq, queue.empty?]).to eq [0, 1, 2, true]
  end

  it "makes a popper wait for an item" do
    popper = spin { queue.pop }
    2.times { snooze }
    expect([popper.state, queue.num_waiting]).to eq [:waiting, 1]
    queue << :item
    expect([popper.await, queue.num_waiting]).to eq [:item, 0]
  end

  it "serves poppers in the order in which they came", :ours do
    served = []
    poppers = 3.times.map { |number| spin { queue.pop; served << number } }
    3.times { snooze }
    3.times { queue << :item }
    Fiber.await(*poppers)
    expect(served).to eq [0, 1, 2]
  end

  it "lets no newcomer take what was promised", :ours do
    served = []
    first = spin { queue.pop; served << :first }
    2.times { snooze }
    queue << :item
    second = spin { queue.pop; served << :second }
    queue << :item
    Fiber.await(first, second)
    expect(served).to eq %i[first second]
  end

  it "leaves the item to the next waiter when the first is cancelled", :ours do
    first = spin { queue.pop }
    second = spin { queue.pop }
    2.times { snooze }
    queue << :item
    first.stop(:stopped)
    expect([first.await, second.await]).to eq %i[stopped item]
  end

  it "gives nothing to a fiber that was cancelled or whose time was up before", :ours do
    late = spin { queue.pop(timeout: 0.001) }
    stopped = spin { queue.pop }
    2.times { snooze }
    stopped.stop(:stopped)
    expect([late.await, stopped.await, queue.num_waiting]).to eq [nil, :stopped, 0]
    queue << :item
    expect(queue.pop).to eq :item
  end

  it "lets the first in line keep its place where another was faster", :ours do
    first = spin { queue.pop }
    second = spin { queue.pop }
    2.times { snooze }
    queue << :taken
    expect(queue.pop(true)).to eq :taken
    3.times { snooze }
    expect([first.state, second.state]).to eq %i[waiting waiting]
    queue << 1
    queue << 2
    expect([first.await, second.await]).to eq [1, 2]
  end

  it "keeps what a popper is scheduled with for its next suspend", :ours do
    popper = spin { [queue.pop, suspend] }
    2.times { snooze }
    popper.schedule(:scheduled)
    3.times { snooze }
    expect(popper.state).to eq :waiting
    queue << :item
    expect(popper.await).to eq %i[item scheduled]
  end

  it "ends no later suspend with a call for an item", :ours do
    popper = spin { move_on_after(0) { queue.pop }; suspend }
    snooze until popper.state == :waiting && queue.num_waiting.zero?
    queue << :item
    3.times { snooze }
    expect(popper.state).to eq :waiting
    popper.schedule(:scheduled)
    expect([popper.await, queue.pop]).to eq %i[scheduled item]
  end

  it "serves a fiber that nobody spun", :ours do
    popper = spin { Enumerator.new { |items| 2.times { items << queue.pop } }.then { |items| [items.next, items.next] } }
    3.times { snooze }
    queue << 1
    3.times { snooze }
    queue << 2
    expect(popper.await).to eq [1, 2]
  end

  it "forgets who waited in a thread that has ended", :ours do
    ready = Queue.new
    thread = Thread.new { spin { queue.pop }; 2.times { snooze }; ready << :ready; suspend }
    ready.pop
    thread.kill.join
    expect(queue.num_waiting).to eq 0
    queue << :item
    expect(queue.pop).to eq :item
  end

  it "is the child's own after a fork" do
    waiting = spin { queue.pop }
    2.times { snooze }
    failure = Child.forked do
      got = spin { queue.pop }
      before = queue.num_waiting
      queue << :child
      got = [before, got.await]
      got == [0, :child] ? nil : got.inspect
    end
    expect(failure).to be_nil
    queue << :parent
    expect(waiting.await).to eq :parent
  end

  it "refuses to be marshalled", :ours do
    queue.num_waiting
    spin { queue.pop(timeout: 0) }.await
    expect { Marshal.dump(queue) }.to raise_error TypeError, /can't dump/
  end

  it "wakes everybody when it is closed" do
    poppers = 3.times.map { spin { queue.pop } }
    2.times { snooze }
    queue.close
    expect(Fiber.await(*poppers)).to eq [nil, nil, nil]
    expect(queue.pop).to be_nil
    expect { queue << 1 }.to raise_error ClosedQueueError, "queue closed"
  end

  it "gives what is left after it was closed" do
    queue << 1
    queue.close
    expect([queue.pop, queue.pop]).to eq [1, nil]
  end

  it "refuses to wait where it is told not to" do
    expect { queue.pop(true) }.to raise_error ThreadError, "queue empty"
  end

  it "gives up when the time is up", :since_ruby_3_2 do
    expect(queue.pop(timeout: 0.002)).to be_nil
    queue << 1
    expect(queue.pop(timeout: 0.002)).to eq 1
    expect(queue.num_waiting).to eq 0
  end

  it "passes items between fibers and stock threads, both ways" do
    thread = Thread.new { 3.times.map { queue.pop } }
    3.times { |number| queue << number }
    expect(thread.value).to eq [0, 1, 2]
    thread = Thread.new { 3.times { |number| queue << number } }
    expect(Array.new(3) { queue.pop }).to eq [0, 1, 2]
    thread.join
  end

  it "loses and doubles nothing among fibers, threads and cancellations", :ours, limit: 20 do
    taken = []
    take = -> { while (item = queue.pop) do taken << item end }
    fibers = 4.times.map { spin(&take) }
    threads = 2.times.map { Thread.new(&take) }
    threads << Thread.new { Fiber.await(*3.times.map { spin(&take) }) }
    2_000.times do |number|
      queue << number
      snooze if random.rand(3).zero?
      next unless random.rand(5).zero?

      victim = random.rand(fibers.size)
      fibers[victim].stop
      fibers << spin(&take)
      fibers.delete_at(victim).await
    end
    queue.close
    Fiber.await(*fibers)
    threads.each(&:join)
    expect(taken.sort).to eq [*0...2_000]
  end
end
