# frozen_string_literal: true

RSpec.describe Polyphony::Verbs do
  def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  describe "#sleep" do
    everywhere do
      it "takes at least as long as it was told to" do
        began = clock
        expect(sleep(0.01)).to be_nil
        expect(clock - began).to be >= 0.01
      end

      it "wakes the fiber that sleeps longer later" do
        order = []
        Fiber.await(*[0.006, 0.002, 0.004].map { |time| spin { sleep time; order << time } })
        expect(order).to eq [0.002, 0.004, 0.006]
      end
    end

    it "ends early with what the fiber is scheduled with" do
      fiber = spin { sleep 1000 }
      snooze
      fiber.schedule(:early)
      expect(fiber.await).to eq :early
    end

    it "lets others run when the time is zero" do
      order = []
      spin { order << :other }
      sleep 0
      order << :sleeper
      expect(order).to eq %i[other sleeper]
    end

    it "refuses what is no time, as stock Ruby does" do
      expect { sleep(-1) }.to raise_error ArgumentError, "time interval must not be negative"
      expect { sleep("1") }.to raise_error TypeError, "can't convert String into time interval"
      expect { sleep(1, 2) }.to raise_error ArgumentError
      expect { sleep(Float::NAN) }.to raise_error StandardError
    end

    it "takes a Rational, and for ever in seconds" do
      expect(sleep(Rational(1, 1000))).to be_nil
      fiber = spin { sleep(Float::INFINITY) }
      snooze
      fiber.schedule(:ended)
      expect(fiber.await).to eq :ended
    end

    it "wakes thirty thousand fibers in order", limit: 60 do
      out = Child.ruby!(<<~RUBY)
        order = []
        GC.disable
        fibers = Array.new(30_000) { |number| spin { sleep(0.2 + number * 0.00001); order << number } }
        Fiber.await(*fibers)
        puts order.size, order == order.sort, Thread.current.backend.stats[:fibers]
        exit!(0) if $stdout.flush
      RUBY
      expect(out.split).to eq %w[30000 true 1]
    end

    it "makes more fibers than a process has room for, as long as the earlier ones have ended", limit: 60 do
      out = Child.ruby!(<<~RUBY)
        ended = 0
        6.times { Fiber.await(Array.new(10_000) { spin { ended += 1 } }) }
        puts ended
      RUBY
      expect(out).to eq "60000\n"
    end

    it "says which limit is met where Ruby can make no more fibers", limit: 60 do
      out = Child.ruby!(<<~RUBY)
        begin
          GC.disable
          loop { spin { suspend }; snooze }
        rescue FiberError => e
          puts e.message, Fiber.current.children.size > 30_000
          $stdout.flush
          exit!(0)
        end
      RUBY
      expect(out).to include("vm.max_map_count").and include("true")
    end
  end

  describe "#snooze" do
    it "goes to the tail of the queue" do
      order = []
      fibers = 3.times.map { |number| spin { 2.times { order << number; snooze } } }
      Fiber.await(*fibers)
      expect(order).to eq [0, 1, 2, 0, 1, 2]
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

  describe "#move_on_after" do
    everywhere do
      it "leaves the block when the time is up, with the value" do
        expect(move_on_after(0.005, with_value: :late) { sleep }).to eq :late
        expect(move_on_after(0.005) { sleep }).to be_nil
      end

      it "returns the block's value where it is in time" do
        expect(move_on_after(10, with_value: :late) { snooze; :in_time }).to eq :in_time
      end

      it "nests: the shorter one fires, and each gives its own value" do
        inner = move_on_after(10, with_value: :outer) { [move_on_after(0.002, with_value: :inner) { sleep }] }
        outer = move_on_after(0.002, with_value: :outer) { [move_on_after(10, with_value: :inner) { sleep }] }
        expect([inner, outer]).to eq [[:inner], :outer]
      end
    end

    it "yields a canceller whose reset starts the time anew" do
      now = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }
      enough = now.call + 0.5
      result = move_on_after(0.2, with_value: :late) do |timeout|
        while now.call < enough
          timeout.reset
          snooze
        end
        :done
      end
      expect(result).to eq :done
    end

    it "does not swallow a stop from outside" do
      fiber = spin { move_on_after(10) { |_| suspend }; :went_on }
      snooze
      fiber.stop(:stopped)
      expect(fiber.await).to eq :stopped
    end

    it "fires although the time was up before the block first waited" do
      expect(move_on_after(0, with_value: :late) { sleep }).to eq :late
    end

    it "refuses a time that is none" do
      expect { move_on_after(-1) { nil } }.to raise_error ArgumentError
      expect { move_on_after("x") { nil } }.to raise_error TypeError
      expect { move_on_after(nil) { nil } }.to raise_error ArgumentError
    end
  end

  describe "#cancel_after" do
    everywhere do
      it "raises in the block's stead, whatever the exception is given as" do
        error = KeyError.new("made")
        raised = [Polyphony::Cancel, IOError, [IOError, "why"], "text", error].map do |given|
          cancel_after(0.001, with_exception: given) { sleep }
        rescue Exception => e # rubocop:disable Lint/RescueException
          [e.class, e.message]
        end
        expect(raised).to eq [
          [Polyphony::Cancel, "Polyphony::Cancel"], [IOError, "IOError"], [IOError, "why"],
          [RuntimeError, "text"], [KeyError, "made"]
        ]
      end
    end

    it "is Cancel by default" do
      expect { cancel_after(0.001) { sleep } }.to raise_error Polyphony::Cancel
    end

    it "may be re-armed a million times" do
      before = Thread.current.backend.stats[:timers]
      cancel_after(1000) do |timeout|
        1_000_000.times { timeout.reset }
        expect(Thread.current.backend.stats[:timers]).to eq before + 1
      end
      expect(Thread.current.backend.stats[:timers]).to eq before
    end

    it "still fires after it was re-armed" do
      expect do
        cancel_after(0.005) { |timeout| 1000.times { timeout.reset } && sleep }
      end.to raise_error Polyphony::Cancel
    end
  end

  describe "Timeout.timeout" do
    everywhere do
      it "raises Timeout::Error with its message" do
        expect { Timeout.timeout(0.002) { sleep } }.to raise_error Timeout::Error, "execution expired"
        expect { Timeout.timeout(0.002, IOError) { sleep } }.to raise_error IOError, "execution expired"
        expect { Timeout.timeout(0.002, IOError, "late") { sleep } }.to raise_error IOError, "late"
      end

      it "yields the seconds and returns the block's value" do
        expect(Timeout.timeout(5) { |seconds| [seconds, :value] }).to eq [5, :value]
        expect(Timeout.timeout(nil) { |seconds| [seconds, :value] }).to eq [nil, :value]
        expect(Timeout.timeout(0) { :value }).to eq :value
      end
    end

    it "ends a read, and the next one finds the bytes" do
      reader, writer = pipe
      expect { Timeout.timeout(0.002) { reader.gets } }.to raise_error Timeout::Error
      writer << "later\n"
      expect(reader.gets).to eq "later\n"
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

  # A tick that comes late is skipped, and the schedule stays what it was.
  it "keeps every's schedule whatever the block takes" do
    began = clock
    ticks = []
    every(0.01) do
      ticks << clock - began
      sleep 0.012 if ticks.size == 1
      break if ticks.size == 3
    end
    expect(ticks.map { |tick| (tick / 0.01).floor }.each_cons(2).all? { |one, next_one| next_one > one }).to be true
    expect(ticks[1]).to be >= 0.03
  end

  describe "#receive" do
    it "finds messages that a thread was sent before it ran fibers" do
      thread = Thread.new { Array.new(3) { receive } }
      thread << 1 << 2
      thread << 3
      expect(thread.value).to eq [1, 2, 3]
    end
  end

  describe "#p" do
    everywhere "the main fiber", "a spun fiber" do
      it "writes in one piece and returns what it was given, as stock Ruby does" do
        earlier = $stdout
        $stdout = StringIO.new
        results = [p, p(1), p("a", :b)]
        expect([results, $stdout.string]).to eq [[nil, 1, ["a", :b]], "1\n\"a\"\n:b\n"]
      ensure
        $stdout = earlier
      end
    end

    it "lets others run while its output is full" do
      out = Child.ruby!(<<~RUBY)
        reader, writer = IO.pipe
        earlier = $stdout
        $stdout = writer
        read = spin { reader.readpartial(1_000_000).size while reader.wait_readable(0.01); :read }
        p "x" * 200_000
        $stdout = earlier
        print read.await
      RUBY
      expect(out).to eq "read"
    end
  end

  describe "#gets" do
    def asked(script, input, *arguments)
      reader, writer = IO.pipe
      writer << input
      writer.close
      command = ["timeout", "20", *Child::RUBY, "-I", Child::LIBRARY, "-rpolyphony", "-e", script, *arguments]
      Thread.new { IO.popen(command, in: reader, &:read) }.value
    ensure
      reader.close
    end

    it "reads $stdin in every form, sets $_, and ends with nil" do
      script = "Polyphony.scheduler!; p gets, $_, gets(chomp: true), gets(3), gets('x'), gets(nil), gets"
      expect(asked(script, "one\ntwo\nthree\naxb\n")).to eq %("one\\n"\n"one\\n"\n"two"\n"thr"\n"ee\\nax"\n"b\\n"\nnil\n)
    end

    it "lets others run while it waits" do
      script = "ticker = spin { 3.times { sleep 0.001 }; $stdout.syswrite('ticked '); Process.kill(:KILL, Process.pid) if false; $w << \"late\\n\" }; " \
               "r, $w = IO.pipe; $stdin.reopen(r); print gets"
      expect(asked(script, "")).to eq "ticked late\n"
    end

    it "reads the files that ARGV names" do
      in_directory do |directory|
        2.times { |number| File.write("#{directory}/#{number}", "line #{number}\n") }
        script = "Polyphony.scheduler!; p gets, gets, gets; begin; ARGV << '/none'; gets; rescue Errno::ENOENT => e; p e.class; end"
        expect(asked(script, "stdin\n", "#{directory}/0", "#{directory}/1")).to start_with %("line 0\\n"\n"line 1\\n"\nnil\n)
      end
    end
  end

  describe "#system and backticks" do
    everywhere "the main fiber", "a spun fiber" do
      it "write where $stdout and $stderr go, also where that is no file" do
        earlier = [$stdout, $stderr]
        $stdout = StringIO.new
        $stderr = StringIO.new
        status = system("echo out; exit 3")
        text = `echo heard; echo err >&2`
        expect([status, $stdout.string, text, $stderr.string, $?.exitstatus]).to eq [false, "out\n", "heard\n", "err\n", 0]
      ensure
        $stdout, $stderr = earlier
      end

      it "fail as stock Ruby's do" do
        expect(system("/none")).to be_nil
        expect { system("exit 3", exception: true) }.to raise_error RuntimeError, /exit 3/
        expect { system("/none", exception: true) }.to raise_error Errno::ENOENT
        expect { `/none` }.to raise_error Errno::ENOENT
      end
    end

    # Backticks deadlocked when a child filled its output before it closed its stderr.
    it "take long output" do
      expect(`head -c 200000 /dev/zero`.bytesize).to eq 200_000
    end
  end

  describe "#trap" do
    it "gives back the very handler that was there" do
      handler = -> { nil }
      trap(:USR2, handler)
      expect(Process.trap(:USR2) { nil }).to equal handler
      expect(trap(:USR2, "DEFAULT")).to be_a Proc
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
