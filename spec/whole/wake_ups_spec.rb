# frozen_string_literal: true

# A fiber is woken and cancelled in the same turn, in either order: whoever waits behind it gets what it was woken for.
RSpec.describe "What a fiber was woken for" do
  # Of each: what one does who waits, and what wakes one of those who wait.
  waits = {
    "a condition" => lambda do
      lock, condition = Mutex.new, ConditionVariable.new
      [-> { lock.synchronize { condition.wait(lock) } }, -> { condition.signal }]
    end,
    "a condition, and a limit" => lambda do
      lock, condition = Mutex.new, ConditionVariable.new
      [-> { lock.synchronize { condition.wait(lock, 60) } }, -> { condition.signal }]
    end,
    "a condition whose lock is taken" => lambda do
      lock, condition = Mutex.new, ConditionVariable.new
      wake = lambda do
        lock.synchronize do
          condition.signal
          2.times { snooze } # who was woken waits for the lock now
        end
      end
      [-> { lock.synchronize { condition.wait(lock) } }, wake]
    end,
    "a Monitor's condition" => lambda do
      monitor = Monitor.new
      condition = monitor.new_cond
      [-> { monitor.synchronize { condition.wait } }, -> { monitor.synchronize { condition.signal } }]
    end,
    "a lock" => lambda do
      lock = Mutex.new
      holder = spin { lock.synchronize { suspend } }
      snooze
      [-> { lock.synchronize { :locked } }, -> { holder.schedule; snooze }]
    end,
    "a Monitor" => lambda do
      monitor = Monitor.new
      holder = spin { monitor.synchronize { suspend } }
      snooze
      [-> { monitor.synchronize { :entered } }, -> { holder.schedule; snooze }]
    end,
    "an item" => lambda do
      queue = Queue.new
      [-> { queue.pop }, -> { queue << :item }]
    end,
    "an item, and a limit" => lambda do
      queue = Queue.new
      [-> { queue.pop(timeout: 60) }, -> { queue << :item }]
    end,
    "an item of a SizedQueue" => lambda do
      queue = SizedQueue.new(1)
      [-> { queue.pop }, -> { queue << :item }]
    end,
    "room" => lambda do
      queue = SizedQueue.new(1) << :item
      [-> { queue << :another }, -> { queue.pop }]
    end,
    "a message of a channel" => lambda do
      channel = Polyphony::Channel.new
      [-> { channel.receive }, -> { channel << :message }]
    end,
    "a resource" => lambda do
      pool = Polyphony::ResourcePool.new(limit: 1) { Object.new }
      holder = spin { pool.acquire { suspend } }
      snooze
      [-> { pool.acquire { |resource| resource } }, -> { holder.schedule; snooze }]
    end
  }

  cancellations = {
    "raised in" => ->(fiber) { fiber.raise(IOError) },
    "stopped" => ->(fiber) { fiber.stop },
    "cancelled" => ->(fiber) { fiber.cancel },
    "terminated" => ->(fiber) { fiber.terminate }
  }

  # Fibers that wait one behind the other, and say how that ended.
  def waiting(wait)
    Array.new(2) do
      fiber = spin do
        wait.call
        :woken
      rescue IOError, Polyphony::Cancel
        :cancelled
      end
      snooze
      fiber
    end
  end

  # What the second one got, who must not wait for ever.
  def got_by(second)
    100.times { second.dead? ? break : snooze }
    second.dead? ? second.await : :nothing
  end

  everywhere("the main fiber", "a thread") do
    waits.each do |name, make|
      cancellations.each do |done, cancel|
        it "goes to the next who waits for #{name}, where the first is woken and #{done}" do
          wait, wake = make.call
          first, second = waiting(wait)
          wake.call
          cancel.call(first)
          expect([first.await == :woken, got_by(second) == :woken].one?).to be true
          second.stop
        end

        it "goes to the next who waits for #{name}, where the first is #{done} and woken" do
          wait, wake = make.call
          first, second = waiting(wait)
          cancel.call(first)
          wake.call
          first.await
          expect(got_by(second)).to eq :woken
        end
      end
    end

    waits.each do |name, make|
      it "is nobody's who waits for #{name} behind one that is cancelled before anything came" do
        wait, wake = make.call
        first, second = waiting(wait)
        first.cancel
        expect([first.await, got_by(second)]).to eq %i[cancelled nothing]
        second.stop
        second.await
        wake.call
        2.times { snooze }
      end

      # Both timers are due when they are looked at: the one that wakes goes off first.
      it "goes to the next who waits for #{name}, where the time of the first is up in the same turn" do
        wait, wake = make.call
        waker = spin { sleep 0.001; wake.call }
        snooze
        first = spin { move_on_after(0.001, with_value: :late) { wait.call; :woken } }
        snooze
        second = spin { wait.call; :woken }
        snooze
        enough = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 0.002
        nil while Process.clock_gettime(Process::CLOCK_MONOTONIC) < enough
        waker.await
        expect([first.await, got_by(second)]).to eq(%i[late woken]).or eq(%i[woken nothing])
        second.stop
      end

      it "goes to a stock thread that waits for #{name} behind it" do
        next if name.match?(/resource|channel|taken|item, and/) # only fibers can, or others have to run

        wait, wake = make.call
        first = spin { wait.call; :woken }
        snooze
        thread = Thread.new { wait.call; :woken }
        Thread.pass until thread.stop?
        wake.call
        first.stop(:stopped)
        expect([first.await, thread.value]).to eq %i[stopped woken]
      end

      it "goes to the fiber behind the main one, which waits for #{name} and is woken and raised in" do
        next if name.match?(/taken/) # the main fiber would have to let others run

        wait, wake = make.call
        second = nil
        main = Fiber.current
        spin do
          second = main.spin { wait.call; :woken }
          snooze
          snooze # the main fiber's helper waits as well
          wake.call
          main.raise(IOError)
        end
        first = begin
          wait.call
          true
        rescue IOError
          false
        end
        expect([first, got_by(second) == :woken].one?).to be true
        second.stop
      end
    end
  end

  it "is not what a fiber gets whose time was up, and which waits for the lock again" do
    lock, condition = Mutex.new, ConditionVariable.new
    first = spin { lock.synchronize { condition.wait(lock, 0.001) } }
    snooze
    second = spin { lock.synchronize { condition.wait(lock); :woken } }
    snooze
    lock.synchronize do
      sleep 0.002
      condition.signal
    end
    expect([first.await, got_by(second)]).to eq [nil, :woken]
  end

  it "comes with the lock, though the fiber is raised in twice before it has it" do
    lock, condition = Mutex.new, ConditionVariable.new
    owned = nil
    fiber = spin do
      lock.synchronize do
        condition.wait(lock)
      ensure
        owned = lock.owned?
      end
    end
    snooze
    lock.synchronize do
      2.times { fiber.raise(IOError); snooze }
    end
    expect { fiber.await }.to raise_error IOError
    expect(owned).to be true
  end

  it "is every thread's end for those who join it, and an event for the next who awaits it" do
    thread = Thread.new { Thread.stop }
    Thread.pass until thread.stop?
    first, second = Array.new(2) { spin { thread.join; :joined } }
    snooze
    thread.wakeup
    Thread.pass while thread.alive?
    first.stop(:stopped)
    expect([first, second].map(&:await)).to eq %i[stopped joined]

    event = Polyphony::Event.new
    waiting = spin { event.await }
    snooze
    event.signal(:signalled)
    waiting.stop
    waiting.await
    expect(event.await).to eq :signalled
  end

  # Ruby's own lists of those who wait, with no class of Ruby's changed.
  STOCK_WAITS = {
    "a lock" => "lock = Mutex.new.lock; [-> { lock.synchronize { nil } }, -> { lock.unlock }]",
    "a Monitor" => "monitor = Monitor.new; monitor.enter; [-> { monitor.synchronize { nil } }, -> { monitor.exit }]",
    "an item" => "queue = Queue.new; [-> { queue.pop }, -> { queue << :item }]",
    "an item of a SizedQueue" => "queue = SizedQueue.new(1); [-> { queue.pop }, -> { queue << :item }]",
    "room" => "queue = SizedQueue.new(1) << :item; [-> { queue << :another }, -> { queue.pop }]",
    "a condition" => <<~RUBY
      lock, condition = Mutex.new, ConditionVariable.new
      # Newer Rubies take the lock again also where the wait is ended by an exception.
      [-> { lock.lock; begin; condition.wait(lock); ensure; lock.unlock if lock.owned?; end }, -> { condition.signal }]
    RUBY
  }.freeze

  STOCK_WAITS.each do |name, make|
    it "goes to the next, fiber or thread, who waits for #{name} with the scheduler alone" do
      out = Child.ruby!(<<~RUBY, loaded: "polyphony/bare")
        require "monitor"
        Cancelled = Class.new(Exception)
        make = -> { #{make} }

        got_by = lambda do |order, waker, behind|
          Thread.new do
            Fiber.set_scheduler(scheduler = Polyphony::FiberScheduler.new)
            wait, wake = make.call
            got = []
            waiter = lambda do |name|
              wait.call
              got << name
            rescue Cancelled
              nil
            end
            first = Fiber.schedule { waiter.call(:first) }
            case behind
            when :fiber then second = Fiber.schedule { waiter.call(:second) }
            when :thread
              second = Thread.new { waiter.call(:second) }
              Thread.pass until second.stop?
            end
            acts = {
              woken: -> { waker == :thread ? Thread.new(&wake).join : wake.call },
              cancelled: -> { scheduler.fiber_interrupt(first, Cancelled.new) }
            }
            order.each { |act| acts[act].call }
            Fiber.schedule do
              100_000.times { got.any? ? break : (Thread.pass; sleep 0) } # a thread takes its time where others want it
              50.times { Thread.pass; sleep 0 }
              second.raise(Cancelled) if behind == :thread && second.stop?
              scheduler.fiber_interrupt(second, Cancelled.new) if behind == :fiber && second.alive?
            end
            scheduler.run
            second.join if behind == :thread
            got
          end.value
        end

        orders = %i[woken cancelled].permutation
        wakers = #{name.match?(/lock|Monitor/) ? "%i[fiber]" : "%i[fiber thread]"}
        orders.to_a.product(wakers, %i[fiber thread]).each { |how| p how unless got_by.call(*how).size == 1 }
      RUBY
      expect(out).to eq ""
    end
  end

  it "leaves the items of a queue in their order with the scheduler alone" do
    out = Child.ruby!(<<~RUBY, loaded: "polyphony/bare")
      Fiber.set_scheduler(scheduler = Polyphony::FiberScheduler.new)
      queue = Queue.new
      cancelled = Class.new(Exception)
      got = []
      fibers = Array.new(5) do
        Fiber.schedule do
          got << queue.pop
        rescue cancelled
          nil
        end
      end
      3.times { |number| queue << number }
      fibers.first(2).each { |fiber| scheduler.fiber_interrupt(fiber, cancelled.new) }
      scheduler.run
      p got
    RUBY
    expect(out).to eq "[0, 1, 2]\n"
  end
end
