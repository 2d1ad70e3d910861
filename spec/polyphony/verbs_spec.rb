# frozen_string_literal: true

RSpec.describe Polyphony::Verbs do
  def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  describe "#snooze" do
    it "goes to the tail of the queue" do
      order = []
      fibers = 3.times.map { |number| spin { 2.times { order << number; snooze } } }
      Fiber.await(*fibers)
      expect(order).to eq [0, 1, 2, 0, 1, 2]
    end

    # One that computes 10 ms between two of them would keep I/O waiting for more than half a second.
    it "gives those that wait a turn each time, where nobody else is ready" do
      reader, writer = pipe
      waiting = spin { 10.times { writer.write("x"); reader.readpartial(1); sleep 0 } }
      rounds = 0
      until waiting.dead?
        snooze
        rounds += 1
      end
      expect(rounds).to be < 200
    end

    it "returns what the fiber is scheduled with meanwhile" do
      fiber = spin { snooze }
      snooze
      fiber.schedule(:value)
      expect(fiber.await).to eq :value
    end

    it "keeps I/O alive among busy fibers" do
      reader, writer = pipe
      busy = spin { loop { snooze } }
      line = spin { reader.gets }
      writer << "line\n"
      expect(line.await).to eq "line\n"
      busy.stop
      busy.await
    end
  end

  describe "#suspend" do
    it "returns what the fiber was scheduled with while it waited for something else" do
      mutex = Mutex.new.tap(&:lock)
      ended = spin { suspend }
      items = Queue.new
      room = SizedQueue.new(1) << :full
      waits = [-> { items.pop }, -> { mutex.synchronize { nil } }, -> { ended.await }, -> { room.push(1) }]
      fibers = waits.map { |wait| spin { wait.call; suspend } }
      2.times { snooze }
      fibers.each_with_index { |fiber, number| fiber.schedule(number) }
      3.times { snooze }
      expect(fibers.map(&:state)).to all eq :waiting
      items << :item
      mutex.unlock
      ended.schedule
      room.pop
      expect(Fiber.await(*fibers)).to eq [0, 1, 2, 3]
    end

    it "is not the end of a later wait of the main fiber" do
      expect(Child.ruby!(<<~RUBY)).to eq "[:first, :second]"
        main = Fiber.current
        spin { main.schedule(:first) }
        first = suspend
        thread = Thread.new { Thread.pass until Thread.main.stop?; main.schedule(:second) }
        print [first, sleep].inspect
        thread.join
      RUBY
    end

    it "returns in a main fiber when nothing can happen any more" do
      expect(Child.ruby!("p suspend")).to eq "nil\n"
      expect(Child.ruby!("spin { sleep 0.01; print 1 }; suspend; print 2")).to eq "12"
    end
  end

  describe "#every" do
    it "runs the block again and again until it breaks" do
      rounds = 0
      expect(every(0.001) { break :broken if (rounds += 1) == 3 }).to eq :broken
      expect(rounds).to eq 3
    end

    it "refuses an interval that is none" do
      expect { every(0) { break } }.to raise_error ArgumentError
      expect { every(-1) { break } }.to raise_error ArgumentError
    end
  end

  describe "every loop" do
    spinning = lambda do |**options, &block|
      fiber = spin_loop(**options, &block)
      fiber.await
    ensure
      fiber.stop
    end
    loops = {
      "spin_loop" => spinning, "every" => ->(&block) { every(0.0005, &block) },
      "spin_loop with a rate" => ->(&block) { spinning.call(rate: 2000, &block) },
      "throttled_loop" => ->(&block) { throttled_loop(rate: 2000, &block) },
      "throttled_loop with a count" => ->(&block) { throttled_loop(rate: 2000, count: 100, &block) },
      "receive_loop" => ->(&block) { 5.times { Fiber.current << nil }; receive_loop(&block) },
      "timer_loop" => ->(&block) { Polyphony.backend_timer_loop(0.0005, &block) }
    }
    after { receive_all_pending }

    loops.each do |name, run|
      it "ends by a break, with its value: #{name}" do
        rounds = 0
        expect(run.call { break :broken if (rounds += 1) == 3 }).to eq :broken
        expect(rounds).to eq 3
      end if name !~ /spin_loop/

      it "ends by StopIteration: #{name}" do
        rounds = 0
        run.call { raise StopIteration if (rounds += 1) == 3 }
        expect(rounds).to eq 3
      end

      it "ends when it is cancelled, and when its time is up: #{name}" do
        fiber = spin { run.call { snooze } }
        3.times { snooze }
        fiber.stop(:stopped)
        expect(fiber.await).to eq :stopped
        expect(move_on_after(0.003, with_value: :late) { run.call { snooze } }).to eq :late
      end unless name =~ /count/
    end

    it "gives a spin_loop's break as the fiber's result" do
      expect([spin_loop { break :broken }.await, spin_loop(interval: 0.001) { break :too }.await]).to eq %i[broken too]
    end
  end

  # A late tick runs at once, those missed are skipped, and the schedule stays what it was. Its time is the script's own.
  it "keeps every's schedule whatever the block takes" do
    out = Child.ruby!(<<~RUBY)
      $now = 0
      Process.singleton_class.prepend(Module.new { def clock_gettime(*) = $now })
      ticker = Object.new
      def ticker.sleep(seconds) = $now += seconds
      takes = [12, 0, 3, 25, 0, 0]
      ticks = []
      ticker.send(:every, 10) { ticks << $now; $now += takes.shift; break if takes.empty? }
      print ticks.inspect
    RUBY
    expect(out).to eq "[10, 22, 30, 40, 65, 70]"
  end

  # Waiting for the next tick instead would halve the rate of a block that takes a little too long.
  it "runs a tick of every that is late at once" do
    out = Child.ruby!(<<~RUBY)
      $now = 0
      Process.singleton_class.prepend(Module.new { def clock_gettime(*) = $now })
      ticker = Object.new
      def ticker.sleep(seconds) = $now += seconds
      log = []
      ticker.send(:every, 10) do
        log << :tick
        break if log.count(:tick) == 2

        $now += 12
        spin { log << :others; 3.times { snooze }; log << :later }
      end
      print log.inspect
    RUBY
    expect(out).to eq "[:tick, :others, :tick]"
  end

  describe "#receive" do
    it "finds messages that a thread was sent before it ran fibers" do
      thread = Thread.new { Array.new(3) { receive } }
      thread << 1 << 2
      thread << 3
      expect(thread.value).to eq [1, 2, 3]
    end
  end

  describe "#after" do
    it "runs the block once, later" do
      expect(after(0.001) { :ran }.await).to eq :ran
    end
  end

  describe "#spin_loop" do
    it "runs until it breaks or StopIteration is raised" do
      rounds = 0
      spin_loop { (rounds += 1) == 3 ? break : snooze }.await
      spin_loop { (rounds += 1) == 6 ? raise(StopIteration) : snooze }.await
      expect(rounds).to eq 6
    end

    it "keeps to a rate or an interval" do
      rounds = 0
      began = clock
      spin_loop(rate: 500) { break if (rounds += 1) == 4 }.await
      spin_loop(interval: 0.002) { break if (rounds += 1) == 8 }.await
      expect(clock - began).to be >= 0.012
    end
  end

  describe "#spin_scope" do
    it "waits for every fiber spun in it and returns the block's value" do
      log = []
      expect(spin_scope { 2.times { |n| spin { snooze; log << n } }; :value }).to eq :value
      expect(log).to eq [0, 1]
    end

    it "raises what a child raises, and leaves none" do
      expect { spin_scope { spin { suspend }; spin { raise IOError, "child" } } }.to raise_error IOError, "child"
    end

    it "needs a block" do
      expect { spin_scope }.to raise_error ArgumentError
    end
  end

  describe "#throttled_loop" do
    it "stops after so many rounds" do
      rounds = 0
      throttled_loop(rate: 10_000, count: 5) { rounds += 1 }
      expect(rounds).to eq 5
    end
  end

  it "is private, as puts is" do
    expect(Object.new).not_to respond_to(:spin, :snooze, :move_on_after)
    expect { 1.spin { nil } }.to raise_error NoMethodError, /private/
  end
end
