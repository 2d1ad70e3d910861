# frozen_string_literal: true

RSpec.describe Kernel do
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

    # Where Ruby finds no stack it counts one blocking fiber too few ever after: each spun fiber then held the
    # thread in its next backtick, and each refusal took milliseconds.
    it "goes on as before where Ruby could make no more fibers", limit: 60 do
      out = Child.ruby!(<<~RUBY)
        waiting = []
        refused = 0
        begin
          loop do
            waiting << spin { suspend }
            snooze
          end
        rescue FiberError
          refused += 1
          retry if refused < 500
        end
        puts refused, Fiber.current_scheduler.inspect
        waiting.reject!(&:dead?)
        200.times { waiting.pop.stop }
        puts spin { Fiber.current_scheduler.class }.await
        background = spin_loop { snooze }
        puts spin { `echo told` }.await
        queue = Queue.new
        puts spin { Thread.new { queue.pop }.tap { queue << :joined }.value }.await
        background.stop
      RUBY
      expect(out).to eq "500\nnil\nPolyphony::FiberScheduler\ntold\njoined\n"
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
end
