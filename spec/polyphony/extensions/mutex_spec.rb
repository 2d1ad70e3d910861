# frozen_string_literal: true

LOCKS_MADE_BEFORE = { Mutex => Mutex.new, Monitor => Monitor.new }.freeze

RSpec.describe "Locks" do
  LOCKS_MADE_BEFORE.each do |klass, made_before|
    { "a #{klass}" => -> { klass.new }, "a #{klass} made before the scheduler" => -> { made_before } }.each do |name, make|
      describe name do
        everywhere do
          let!(:lock) { make.call }

          it_behaves_like "a mutex"

          it "may be taken again by the block that has it" do
            expect(lock.synchronize { lock.synchronize { snooze; :inner } }).to eq :inner
            expect(spin { lock.synchronize { :free } }.await).to eq :free
          end
        end
      end
    end
  end

  it "are let go of by the fiber that ends with them" do
    mutex, monitor = Mutex.new, Monitor.new
    holder = spin { mutex.lock; 2.times { monitor.enter }; suspend }
    snooze
    waiters = [spin { mutex.synchronize { :mutex } }, spin { monitor.synchronize { :monitor } }]
    snooze
    holder.stop
    expect(Fiber.await(*waiters)).to eq %i[mutex monitor]
    spin { 40.times { Mutex.new.lock; mutex.lock; mutex.unlock } }.await
    expect(mutex.lock).to be_owned
    mutex.unlock
  end

  it "are let go of by the fiber that ends with many, whatever it took and gave back meanwhile" do
    mutexes = Array.new(20) { Mutex.new }
    spin do
      mutexes.each(&:lock)
      mutexes.first(5).each(&:unlock)
      mutexes.first.lock
      Mutex.new.lock
    end.await
    expect(mutexes).to all satisfy { |mutex| !mutex.locked? }
  end

  it "tell a fiber that locks twice" do
    mutex = Mutex.new
    expect { spin { mutex.lock; mutex.lock }.await }.to raise_error ThreadError, /recursive/
  end

  describe ConditionVariable do
    everywhere do
      it "wakes whoever waits, with the lock held" do
        mutex = Mutex.new
        condition = ConditionVariable.new
        ready = false
        spin { 2.times { snooze }; mutex.synchronize { ready = true; condition.signal } }
        mutex.synchronize do
          condition.wait(mutex) until ready
          expect(mutex).to be_owned
        end
      end

      it "refuses to wait with what is no mutex" do
        expect { ConditionVariable.new.wait(5) }.to raise_error TypeError
      end

      it "wakes all on a broadcast" do
        mutex = Mutex.new
        condition = ConditionVariable.new
        waiters = 3.times.map { spin { mutex.synchronize { condition.wait(mutex); :woken } } }
        4.times { snooze }
        mutex.synchronize { condition.broadcast }
        expect(Fiber.await(*waiters)).to eq %i[woken woken woken]
      end

      it "wakes a fiber from a stock thread, and a stock thread from a fiber" do
        mutex = Mutex.new
        condition = ConditionVariable.new
        turn = :thread
        thread = Thread.new do
          mutex.synchronize do
            turn = :fiber
            condition.signal
            condition.wait(mutex) until turn == :thread_again
          end
          :done
        end
        mutex.synchronize do
          condition.wait(mutex, 5) until turn == :fiber
          turn = :thread_again
          condition.signal
        end
        expect(thread.value).to eq :done
      end

      it "gives up when the time is up, with the lock held" do
        mutex = Mutex.new
        mutex.synchronize do
          ConditionVariable.new.wait(mutex, 0.002)
          expect(mutex).to be_owned
        end
      end
    end
  end

  # It slept on in a thread that runs fibers.
  it "lets Thread#wakeup end Mutex#sleep, with the lock held" do
    lock = Mutex.new
    [[], [1000]].each do |limit|
      thread = Thread.new { Thread.current.backend; lock.synchronize { [lock.sleep(*limit).class, lock.owned?] } }
      until thread.join(0.001)
        begin
          thread.wakeup
        rescue ThreadError
          nil # it has ended just now
        end
      end
      expect(thread.value).to eq [Integer, true]
    end
  end

  it "says nil where Mutex#sleep took all its time" do
    lock = Mutex.new
    expect(lock.synchronize { lock.sleep(0.001) }).to be_nil
  end

  it "may be taken twice by one fiber where they are Monitors" do
    monitor = Monitor.new
    expect(spin { monitor.synchronize { monitor.synchronize { :twice } } }.await).to eq :twice
  end

  it "wait on a condition of a Monitor" do
    monitor = Monitor.new
    condition = monitor.new_cond
    ready = false
    spin { monitor.synchronize { ready = true; condition.signal } }
    monitor.synchronize { condition.wait_until { ready } }
    expect(ready).to be true
  end
end

RSpec.describe Polyphony::Extensions::MutexExtras do
  [Mutex, Monitor].each do |lock_class|
    describe lock_class do
      let(:lock) { lock_class.new }

      everywhere do
        it "is given up for a while, and taken again when it is free" do
          order = []
          lock.lock
          other = spin { lock.synchronize { order << :other; snooze } }
          2.times { snooze }
          expect(lock.conditional_release).to equal lock
          order << :released
          snooze until order.include?(:other)
          expect(lock.conditional_reacquire).to equal lock
          order << :reacquired
          expect([lock.owned?, order, other.dead?]).to eq [true, %i[released other reacquired], true]
          lock.unlock
          other.await
        end

        it "is given up by its owner only" do
          expect { lock.conditional_release }.to raise_error ThreadError
          expect(spin { lock.lock; lock.unlock; :free }.await).to eq :free
        end
      end
    end
  end

  it "leaves a monitor as often as it was entered, and enters it as often again" do
    monitor = Monitor.new
    3.times { monitor.lock }
    monitor.conditional_release
    expect([monitor.locked?, spin { monitor.try_lock && monitor.unlock && :free }.await]).to eq [false, :free]
    monitor.conditional_reacquire
    3.times { monitor.unlock }
    expect(monitor.locked?).to be false
    expect { monitor.conditional_reacquire }.to raise_error ThreadError, "the monitor was not released by this fiber"
  end
end
