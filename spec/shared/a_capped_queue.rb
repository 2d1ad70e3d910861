# frozen_string_literal: true

# What every queue does that holds only so many items: `make` gives one for so many.
RSpec.shared_examples "a capped queue" do
  let!(:full) { make.call(1).push(1) }

  it "makes a pusher wait for room" do
    pusher = spin { full << 2; :pushed }
    2.times { snooze }
    expect(pusher.state).to eq :waiting
    expect([full.pop, pusher.await, full.pop]).to eq [1, :pushed, 2]
  end

  it "takes in what pushers bring in the order in which they came" do
    pushers = (2..4).map { |number| spin { full << number } }
    2.times { snooze }
    expect([Array.new(4) { full.pop }, Fiber.await(*pushers)]).to eq [[1, 2, 3, 4], [full] * 3]
  end

  it "leaves the room to the next pusher when the first is cancelled" do
    first = spin { full << 2 }
    second = spin { full << 3 }
    2.times { snooze }
    expect(full.pop).to eq 1
    first.stop
    Fiber.await(first, second)
    expect([full.pop, full.size]).to eq [3, 0]
  end

  it "lets a pusher that was cancelled while it waited keep its item" do
    first = spin { full << 2 }
    second = spin { full << 3 }
    2.times { snooze }
    first.stop(:stopped)
    expect([first.await, full.pop, second.await.equal?(full), full.pop, full.empty?]).to eq [:stopped, 1, true, 3, true]
  end

  it "raises in pushers when it is closed" do
    pusher = spin { full << 2 rescue $!.class }
    2.times { snooze }
    full.close
    expect([pusher.await, full.pop, full.pop]).to eq [ClosedQueueError, 1, nil]
    expect { full << 3 }.to raise_error ClosedQueueError, "queue closed"
  end

  it "never holds more than it may" do
    queue = make.call(3)
    most = 0
    pushers = 5.times.map { spin { 50.times { |number| queue << number; most = [most, queue.size].max } } }
    taken = 250.times.map { queue.pop }
    Fiber.await(*pushers)
    expect([taken.size, most]).to eq [250, 3]
  end

  it "makes room when it is cleared, for as many as there is room for and in their order" do
    queue = make.call(2).push(0).push(0)
    served = []
    pushers = (1..3).map { |number| spin { queue << number; served << number } }
    2.times { snooze }
    queue.clear
    3.times { snooze }
    expect(served).to eq [1, 2]
    expect([queue.pop, queue.pop, queue.pop]).to eq [1, 2, 3]
    Fiber.await(*pushers)
  end

  it "lets in more pushers when the cap is raised, in their order" do
    pushers = (2..4).map { |number| spin { full << number } }
    2.times { snooze }
    expect(full.cap(3)).to equal full
    3.times { snooze }
    expect(pushers.map(&:state)).to eq %i[dead dead waiting]
    expect(Array.new(4) { full.pop }).to eq [1, 2, 3, 4]
  end

  it "keeps what is there when the cap is lowered, and lets nobody in before there is room" do
    queue = make.call(3).push(1).push(2).push(3)
    queue.cap(1)
    pusher = spin { queue << 4 }
    2.times { queue.pop }
    2.times { snooze }
    expect(pusher.state).to eq :waiting
    expect([queue.pop, queue.pop]).to eq [3, 4]
    pusher.await
  end

  it "waits for room also to put an item first" do
    pusher = spin { full.unshift(0) }
    2.times { snooze }
    expect([pusher.state, full.size]).to eq [:waiting, 1]
    expect([full.pop, pusher.await, full.pop]).to eq [1, full, 0]
    queue = make.call(3).push(1).push(2)
    expect(queue.unshift(0).shift_all).to eq [0, 1, 2]
  end

  it "has room for a pusher when an item is deleted" do
    pusher = spin { full << 2 }
    2.times { snooze }
    full.delete(1)
    expect([pusher.await, full.shift_all]).to eq [full, [2]]
  end

  it "has room for pushers when everything is taken at once" do
    pusher = spin { full << 2 }
    2.times { snooze }
    seen = []
    full.shift_each { |item| seen << item }
    expect([pusher.await, seen, full.pop]).to eq [full, [1], 2]
  end

  it "serves pushers and poppers of other threads, which wait as well" do
    queue = make.call(2)
    thread = Thread.new { 20.times { |number| queue << number } }
    expect(Array.new(20) { queue.pop }).to eq [*0...20]
    thread.join
    thread = Thread.new { Array.new(20) { queue.pop } }
    20.times { |number| queue << number }
    expect(thread.value).to eq [*0...20]
  end

  it "loses and doubles nothing among fibers, threads and cancelled pushers", limit: 20 do
    queue = make.call(3)
    pushed = []
    brings = lambda do |numbers|
      numbers.each { |number| queue << number; pushed << number }
    end
    fibers = 5.times.map { |index| spin { brings.call((index * 1_000)...(index * 1_000 + 100)) } }
    threads = 2.times.map { |index| Thread.new { brings.call((9_000 + index * 100)...(9_100 + index * 100)) } }
    taken = []
    taker = spin { while (item = queue.pop) do taken << item end }
    fibers.first(3).each { |fiber| random.rand(40).times { snooze }; fiber.stop }
    fibers.each(&:await)
    threads.each(&:join)
    queue.close
    taker.await
    expect(taken.sort).to eq pushed.sort
  end
end
