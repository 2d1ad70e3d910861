# frozen_string_literal: true

# What every lock does; `lock` is one. Those marked `:ours` are about fibers and cancelling.
RSpec.shared_examples "a mutex" do
  def held? = lock.respond_to?(:locked?) ? lock.locked? : lock.mon_locked?

  def mine? = lock.respond_to?(:owned?) ? lock.owned? : lock.mon_owned?

  def take = lock.respond_to?(:lock) ? lock.lock : lock.enter

  def try = lock.respond_to?(:try_lock) ? lock.try_lock : lock.try_enter

  def give = lock.respond_to?(:unlock) ? lock.unlock : lock.exit

  it "lets one in at a time, in the order in which they came" do
    order = []
    fibers = lock.synchronize do
      waiting = Array.new(3) { |number| spin { lock.synchronize { order << number; snooze; order << number } }.tap { snooze } }
      order << :here
      waiting
    end
    Fiber.await(*fibers)
    expect(order).to eq [:here, 0, 0, 1, 1, 2, 2]
  end

  it "knows whether it is held, and by whom" do
    expect([held?, mine?]).to eq [false, false]
    take
    expect([held?, mine?, spin { [held?, mine?] }.await]).to eq [true, true, [true, false]]
    give
    expect([held?, mine?]).to eq [false, false]
  end

  it "does not wait where it is only tried" do
    expect([try, spin { try }.await]).to eq [true, false]
    give
    expect(spin { try.tap { give } }.await).to be true
  end

  it "can be given back only by who holds it" do
    expect { give }.to raise_error ThreadError
    take
    expect(spin { give rescue $!.class }.await).to eq ThreadError
    give
  end

  it "gives the value of the block, and is free after whatever the block raises" do
    expect(lock.synchronize { :value }).to eq :value
    expect { lock.synchronize { raise IOError } }.to raise_error IOError
    expect(catch(:out) { lock.synchronize { throw :out, :thrown } }).to eq :thrown
    expect(held?).to be false
  end

  it "makes the caller wait while another, or a stock thread, has it" do
    log = []
    fiber = spin { lock.synchronize { 3.times { snooze }; log << :fiber } }
    snooze
    lock.synchronize { log << :caller }
    taken = Queue.new
    enough = Queue.new
    thread = Thread.new { lock.synchronize { taken << true; enough.pop; log << :thread } }
    taken.pop
    enough << true
    lock.synchronize { log << :again }
    fiber.await
    thread.join
    expect(log).to eq %i[fiber caller thread again]
  end

  it "passes over who was cancelled while waiting", :ours do
    take
    victim, next_one = Array.new(2) { |number| spin { lock.synchronize { number } }.tap { snooze } }
    victim.stop(:stopped)
    expect(victim.await).to eq :stopped
    give
    expect(next_one.await).to eq 1
  end

  it "passes over who is cancelled in the turn in which it is given back", :ours do
    take
    victim, next_one = Array.new(2) { |number| spin { lock.synchronize { number } }.tap { snooze } }
    give
    victim.stop(:stopped)
    expect([victim.await, next_one.await, held?]).to eq [:stopped, 1, false]
  end

  it "is free when who held it is cancelled", :ours do
    victim = spin { lock.synchronize { suspend } }
    snooze
    expect(held?).to be true
    victim.stop
    victim.await
    expect([held?, lock.synchronize { :taken }]).to eq [false, :taken]
  end
end
