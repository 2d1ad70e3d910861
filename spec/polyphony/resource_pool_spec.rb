# frozen_string_literal: true

RSpec.describe Polyphony::ResourcePool do
  def pool(limit = 2, resources = %w[a b]) = described_class.new(limit: limit) { resources.shift }

  def use(pool, users, log = [])
    fibers = users.times.map do
      spin { snooze; pool.acquire { |resource| log << resource; yield resource if block_given?; snooze } }
    end
    Fiber.await(*fibers)
    log
  end

  it "makes no more than its limit, and hands them round" do
    shared = pool
    expect([shared.limit, shared.size, shared.available]).to eq [2, 0, 0]
    expect(use(shared, 4)).to eq %w[a b a b]
    expect([shared.size, shared.available]).to eq [2, 2]
  end

  it "goes on with fewer when one is discarded" do
    shared = pool
    expect(use(shared, 4) { |resource| shared.discard! if resource == "b" }).to eq %w[a b a a]
    expect(shared.size).to eq 1
  end

  it "makes another for those in line when the last is discarded" do
    shared = pool(1)
    expect(use(shared, 2) { |resource| shared.discard! if resource == "a" }).to eq %w[a b]
  end

  it "gives a fiber that holds one the same one" do
    shared = pool(1)
    expect(shared.acquire { |outer| shared.acquire { |inner| [outer, inner] } }).to eq %w[a a]
  end

  it "makes all of them at once" do
    shared = pool.fill!
    expect([shared.size, shared.available]).to eq [2, 2]
  end

  it "passes messages on, with keywords and blocks" do
    connection = Class.new { def call(one, two:) = [one, two, yield] }.new
    shared = described_class.new(limit: 1) { connection }
    expect(shared.call(1, two: 2) { 3 }).to eq [1, 2, 3]
    expect(shared.respond_to?(:anything)).to be true
  end

  # An allocator's error left the size too high: the next acquire waited for ever.
  it "counts nothing where the allocator fails" do
    tries = 0
    shared = described_class.new(limit: 1) { (tries += 1) == 1 ? raise(IOError, "no") : :made }
    expect { shared.acquire { nil } }.to raise_error IOError, "no"
    expect([shared.size, shared.acquire { |made| made }]).to eq [0, :made]
  end

  it "serves the next in line where a waiter is stopped" do
    shared = pool(1)
    holder = spin { shared.acquire { suspend } }
    snooze
    waiters = Array.new(2) { |number| spin { shared.acquire { number } } }
    snooze
    waiters.first.stop(:stopped)
    holder.schedule
    expect(Fiber.await(holder, *waiters)).to eq [nil, :stopped, 1]
  end

  it "loses none when a waiter is stopped in the turn that it was woken" do
    shared = pool(1)
    holder = spin { shared.acquire { suspend } }
    snooze
    waiters = Array.new(2) { |number| spin { shared.acquire { number } } }
    snooze
    holder.schedule
    snooze
    waiters.first.stop(:stopped)
    expect(waiters.map(&:await)).to eq [0, 1].zip([:stopped, 1]).map(&:last)
    expect([shared.size, shared.available]).to eq [1, 1]
  end

  it "is not blocked by many users of one" do
    expect(use(pool(1), 50).size).to eq 50
  end

  it "needs to know how resources are made" do
    expect { described_class.new }.to raise_error ArgumentError
  end
end
