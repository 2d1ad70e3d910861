# frozen_string_literal: true

RSpec.describe Thread do
  # A thread that runs fibers, and waits in its main fiber until it is told to end.
  def running(&block)
    ready = Queue.new
    thread = Thread.new do
      Thread.current.report_on_exception = false
      Thread.current.backend
      ready << true
      block.call
    end
    ready.pop
    thread
  end

  it "has a scheduler of its own" do
    thread = running { [Thread.current.backend, Fiber.current.main?, spin { Fiber.current.thread }.await] }
    backend, main, of = thread.value
    expect([backend.equal?(Thread.current.backend), main, of]).to eq [false, true, thread]
  end

  it "gets none from what stock Ruby has too" do
    expect(Thread.new { sleep 0; Queue.new([1]).pop; IO.pipe.each(&:close); Polyphony.scheduler }.value).to be_nil
  end

  everywhere "the main fiber", "a spun fiber" do
    it "gives its value, while others run" do
      ticks = 0
      ticker = spin { loop { ticks += 1; sleep 0.0005 } }
      expect(Thread.new { sleep 0.01; :value }.value).to eq :value
      expect(ticks).to be > 1
      ticker.stop
      ticker.await
    end

    it "refuses a limit that is no number, as stock Ruby does" do
      thread = Thread.new { nil }
      expect { thread.join("1") }.to raise_error TypeError, "no implicit conversion to float from string"
      expect { thread.join([]) }.to raise_error TypeError
      thread.join
    end

    it "is joined: the block's value; with a limit the thread, or nil" do
      expect(Thread.new { :value }.join).to eq :value
      thread = Thread.new { Thread.stop }
      expect(thread.join(0.002)).to be_nil
      snooze until thread.stop?
      thread.run
      expect(thread.join(5)).to equal thread
    end

    it "raises in whoever joins what ended it" do
      thread = running { raise IOError, "in the thread" }
      expect { thread.join }.to raise_error IOError, "in the thread"
      expect { thread.value }.to raise_error IOError, "in the thread"
    end
  end

  it "is woken by fibers of other threads" do
    thread = running { receive }
    thread << :message
    expect(thread.value).to eq :message
    fiber = nil
    ready = Queue.new
    thread = running { fiber = spin { ready << true; suspend }; fiber.await }
    ready.pop
    fiber.schedule(:scheduled)
    expect(thread.value).to eq :scheduled
  end

  it "answers fibers of other threads, thousands of times" do
    there = Queue.new
    back = Queue.new
    thread = running { 2_000.times { back << there.pop + 1 } }
    2_000.times { |number| there << number; raise "lost" unless back.pop == number + 1 }
    thread.join
  end

  it "is raised in, in its main fiber, wherever that waits" do
    waits = [-> { sleep }, -> { spin { sleep 100 }; suspend }, -> { Queue.new.pop }, -> { receive }, -> { Mutex.new.tap(&:lock).sleep },
             -> { spin { suspend }.await }]
    heard = waits.map do |wait|
      thread = running(&wait)
      thread.raise(IOError, "from outside")
      thread.value
    rescue IOError => e
      e.message
    end
    expect(heard).to eq ["from outside"] * waits.size
  end

  # What was heard at a thread's first word to the gem was dropped there: it waited for ever.
  it "hears whenever it comes of what kills it, also at its first word" do
    killed = Array.new(2_000) do |number|
      thread = Thread.new do
        Thread.current.report_on_exception = false
        number.even? ? Thread::Queue.new.pop : sleep
      end
      failing = Thread.new { Thread.current.report_on_exception = false; raise "made" }
      (number % 3).times { Thread.pass }
      expect { failing.join }.to raise_error "made"
      thread.kill
      thread.join(5)
    end
    expect(killed).to all be_a Thread
  end

  it "is killed, and its children's clean-up runs" do
    log = Queue.new
    ready = Queue.new
    thread = running do
      spin do
        ready << true
        suspend
      ensure
        sleep 0.001
        log << :child
      end
      sleep
    ensure
      log << :main
    end
    ready.pop
    thread.kill
    thread.join
    expect(log.shift_all).to contain_exactly(:main, :child)
    expect(thread.status).to be false
  end

  it "ends its children when its block ends" do
    log = Queue.new
    thread = running do
      spin do
        suspend
      ensure
        log << :ended
      end
      snooze
      :value
    end
    expect([thread.value, log.shift_all]).to eq [:value, [:ended]]
  end

  it "wakes many waiters from many threads" do
    queue = Queue.new
    threads = 4.times.map { |number| running { 100.times { spin { queue << number } }; suspend && nil || sleep(0.001) } }
    expect(400.times.map { queue.pop }.tally.values).to eq [100] * 4
    threads.each(&:join)
  end

  it "is sent messages: by <<, and by send where it runs fibers" do
    thread = running { [receive, receive] }
    expect(thread << 1).to equal thread
    thread.send(:status)
    expect(thread.value).to eq [1, :status]
    stock = Thread.new { Thread.stop }
    expect(stock.send(:alive?)).to be true
    stock.kill.join
    expect(stock << 1).to equal stock
  end

  it "is raised in with a class and a message, and kill gives itself" do
    thread = running { sleep }
    thread.raise(IOError, "message")
    expect { thread.join }.to raise_error IOError, "message"
    thread = running { sleep }
    expect(thread.kill_safe).to equal thread
    expect([thread.join, thread.done?, thread.result]).to eq [nil, true, nil]
  end

  # Threads made by start and fork could not be joined.
  it "may be made by start and fork" do
    expect([Thread.start { spin { 1 }.await }.join, Thread.fork(2) { |number| number }.await]).to eq [1, 2]
  end

  it "has a result: nil while it runs, its value, or what ended it" do
    thread = running { receive }
    expect(thread.result).to be_nil
    thread << :value
    thread.join
    failed = running { raise IOError }
    snooze while failed.alive?
    expect([thread.result, failed.result]).to match [:value, IOError]
    expect([thread.await(1), thread.await_done, thread.join(1)]).to eq [:value, :value, thread]
  end

  it "schedules, unschedules and switches under the original's names" do
    order = []
    fibers = Array.new(3) { |number| spin { order << number } }
    Thread.current.fiber_unschedule(fibers[0])
    expect(Thread.current.schedule_and_wakeup(fibers[2])).to equal fibers[2]
    me = Fiber.current
    spin { me.schedule(:back) }
    expect([Thread.current.switch_fiber, order]).to eq [:back, [2, 1]]
    fibers[0].schedule
    fibers[0].await
    expect(Thread.new { Thread.current.setup.main_fiber.main? }.value).to be true
  end

  it "refuses to have its fibers spun from elsewhere" do
    main = nil
    ready = Queue.new
    thread = running { main = Fiber.current; ready << true; sleep }
    ready.pop
    expect { main.spin { nil } }.to raise_error FiberError, /another thread/
    thread.kill
    thread.join
  end

  # Ruby before 3.3 tells nobody of a thread's end by a kill.
  {
    "a sleep" => -> { sleep }, "a read" => -> { IO.pipe[0].read }, "a queue" => -> { Queue.new.pop },
    "its own kill" => -> { Thread.current.kill }, "Thread.exit" => -> { Thread.exit }
  }.each do |name, wait|
    it "ends all its children, who may wait, before it is killed in #{name}" do
      log = Queue.new
      ready = Queue.new
      thread = running do
        3.times do |number|
          spin do
            sleep
          ensure
            snooze
            log << number
          end
        end
        snooze
        ready << true
        wait.call
      ensure
        log << :main
      end
      ready.pop
      thread.kill
      thread.join
      expect([log.shift_all.sort_by(&:to_s), thread.status]).to eq [[0, 1, 2, :main], false]
    end
  end

  # Whoever wraps a thread's block takes that away.
  it "has a $~ of its own, where no fibers run" do
    "mine" =~ /mine/
    expect(Thread.new { "its" =~ /its/ && $~[0] }.value).to eq "its"
    expect($~[0]).to eq "mine"
  end

  {
    "sleep" => -> { sleep }, "sleep with a time" => -> { sleep 100 }, "a fiber that it has resumed" => -> { Fiber.new { sleep; nil }.resume }
  }.each do |name, wait|
    it "is woken by wakeup and by run from #{name}, as stock Ruby is" do
      woken = %i[wakeup run].map do |verb|
        thread = running(&wait)
        snooze until thread.stop?
        thread.__send__(verb) while thread.join(0.001).nil?
        thread.value
      end
      expect(woken).to eq [nil, nil]
    end
  end

  it "is not woken by wakeup from what is no sleep" do
    items = Queue.new
    thread = running { [items.pop, snooze] }
    snooze until thread.stop?
    expect(thread.wakeup).to equal thread
    items << :item
    expect(thread.value).to eq [:item, nil]
    expect { thread.wakeup }.to raise_error ThreadError, "killed thread"
  end

  it "may be done before it ends" do
    ready = Queue.new
    go_on = Queue.new
    thread = Thread.new { ready << Thread.current.mark_as_done(:early).equal?(Thread.current); go_on.pop; :late }
    expect([ready.pop, thread.done?, thread.result, thread.alive?]).to eq [true, true, :early, true]
    go_on << :go
    expect([thread.await_done, thread.result]).to eq %i[late early]
  end

  it "can be marked as one to look into" do
    thread = Thread.new { nil }
    expect([thread.debug?, thread.debug!, thread.debug?]).to eq [false, thread, true]
    thread.join
  end
end
