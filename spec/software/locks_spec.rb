# frozen_string_literal: true

require_relative "../support/software"

RSpec.describe "Timeout, Monitor, ConditionVariable and Thread::Queue" do
  software "Timeout, Monitor, ConditionVariable, Thread::Queue", requires: %w[timeout monitor]

  both_ways "nested timeouts each end their own block, in any wait", [[:inner, :outer], "Timeout::Error"], <<~'RUBY'
    told = []
    last = go do
      Timeout.timeout(0.1) do
        begin
          Timeout.timeout(0.02) { Thread::Queue.new.pop }
        rescue Timeout::Error
          told << :inner
        end
        sleep
      end
    ensure
      told << :outer
    end
    [(last.error; told), last.error.class.name]
  RUBY

  both_ways "a hundred timeouts that are not due end nobody", (0...100).to_a, <<~'RUBY'
    together(100) { |number| Timeout.timeout(30) { sleep 0.001; number } }
  RUBY

  both_ways "a monitor is held by a fiber, again by the same one, and let go when that one is cancelled", [:cancelled, [1, 2]], <<~'RUBY'
    monitor = Monitor.new
    entered = []
    holding = go { monitor.synchronize { monitor.synchronize { entered << 1; sleep } } }
    waiting = go { monitor.synchronize { entered << 2 } }
    sleep 0.001 until entered == [1]
    ended = holding.cancel
    waiting.value
    [ended, entered]
  RUBY

  both_ways "a monitor's condition wakes fibers and threads alike", [0, 1, 2, 3], <<~'RUBY'
    monitor = Monitor.new
    condition = monitor.new_cond
    free = false
    waiting = 0
    pass = lambda do |number|
      monitor.synchronize do
        waiting += 1
        condition.wait_until { free }
        number
      end
    end
    fibers = [0, 1].map { |number| go { pass[number] } }
    threads = [2, 3].map { |number| Thread.new { pass[number] } }
    sleep 0.001 until waiting == 4
    monitor.synchronize { free = true; condition.broadcast }
    fibers.map(&:value) + threads.map(&:value)
  RUBY

  both_ways "a queue's items each reach one of fibers and threads, and who is cancelled takes none", [:cancelled, (0...100).to_a], <<~'RUBY'
    queue = Thread::Queue.new
    gone = go { queue.pop }
    sleep 0
    ended = gone.cancel
    fibers = 4.times.map { go { taken = []; while (item = queue.pop); taken << item; end; taken } }
    threads = 2.times.map { Thread.new { taken = []; while (item = queue.pop); taken << item; end; taken } }
    100.times { |number| queue << number; sleep 0 if (number % 10).zero? }
    queue.close
    [ended, (fibers.map(&:value) + threads.map(&:value)).flatten.sort]
  RUBY

  both_ways "a sized queue holds its pusher up until there is room", [[0, 1, 2, 3, 4], true], <<~'RUBY'
    queue = Thread::SizedQueue.new(2)
    most = 0
    pushing = go { 5.times { |number| queue << number; most = [most, queue.size].max } }
    taken = 5.times.map { sleep 0; queue.pop }
    pushing.value
    [taken, most <= 2]
  RUBY

  both_ways "a condition variable wakes fibers and threads, and not who was cancelled while waiting", [:cancelled, [0, 1, 2], :thread, false], <<~'RUBY'
    lock, condition = Mutex.new, ConditionVariable.new
    waiting = 0
    free = false
    wait = lambda do |name|
      lock.synchronize do
        waiting += 1
        condition.wait(lock) until free
        name
      end
    end
    stuck = go { wait[:stuck] }
    fibers = 3.times.map { |number| go { wait[number] } }
    thread = Thread.new { wait[:thread] }
    sleep 0.001 until waiting == 5
    ended = cancelled_while_a_condition_waits(stuck)
    lock.synchronize { free = true; condition.broadcast }
    [ended, fibers.map(&:value), thread.value, lock.locked?]
  RUBY

  both_ways "a pusher that is cancelled leaves nothing in a sized queue, and its place in the line to the next", [:cancelled, [0, 1, 3], 0], <<~'RUBY'
    queue = Thread::SizedQueue.new(1)
    queue << 0
    pushing = [1, 2, 3].map { |number| go { queue << number } }
    ask_until { queue.num_waiting == 3 }
    ended = pushing[1].cancel
    [ended, 3.times.map { queue.pop }, queue.size]
  RUBY
end
