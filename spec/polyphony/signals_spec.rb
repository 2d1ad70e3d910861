# frozen_string_literal: true

RSpec.describe "Signals" do
  # Runs a script that prints READY, then sends it signals.
  def signalled(script, *signals)
    reader, writer = IO.pipe
    errors, complaints = IO.pipe
    pid = spawn("timeout", "-k", "1", "20", *Child::RUBY, "-I", Child::LIBRARY, "-rpolyphony", "-e", "$stdout.sync = true\n#{script}",
                out: writer, err: complaints, pgroup: true)
    [writer, complaints].each(&:close)
    number = Integer(reader.gets[/\d+/])
    signals.each { |signal| Process.kill(signal, number) }
    out = reader.read
    _, status = Process.wait2(pid)
    [out, errors.read, status.exitstatus]
  ensure
    [reader, errors].each(&:close)
  end

  it "are handled in a fiber, which may do I/O and sleep, while the main fiber waits" do
    out, err, status = signalled(<<~RUBY, :USR1)
      r, w = IO.pipe
      trap(:USR1) { sleep 0.001; w.puts spin { Fiber.current.tag.inspect }.await; w.puts "handled" }
      puts "READY \#{$$}"
      r.gets
      puts r.gets
    RUBY
    expect([out, err, status]).to eq ["handled\n", "", 0]
  end

  {
    "sleep" => "sleep", "a read" => "IO.pipe[0].read", "suspend" => "spin { sleep 100 }; suspend", "a queue" => "Queue.new.pop",
    "await" => "spin { sleep }.await", "accept" => "TCPServer.new('127.0.0.1', 0).accept", "wait" => "Process.wait(spawn('sleep 5', %i[out err] => '/dev/null'))",
    "a lock" => "m = Mutex.new; spin { m.lock; sleep }; snooze; m.lock", "backticks" => "`sleep 5 2>/dev/null`",
    "busy fibers" => "spin { loop { snooze } }; loop { snooze }"
  }.each do |name, wait|
    it "raise Interrupt in the main fiber where it waits in #{name}" do
      out, _, status = signalled(<<~RUBY, :INT)
        Polyphony.scheduler!
        begin
          spin { sleep }
          puts "READY \#{$$}"
          #{wait}
        rescue Interrupt => e
          puts e.class
          exit!(3)
        end
      RUBY
      expect([out, status]).to eq ["Interrupt\n", 3]
    end
  end

  # As Ruby raises an interrupt that is pending where a fiber begins.
  it "are not lost where they come to a fiber before its first word" do
    fiber = spin { :never }
    waiting = spin { fiber.await }
    fiber.define_singleton_method(:__run__) { |*| Kernel.raise Interrupt, "early" }
    expect { 3.times { snooze } }.to raise_error Interrupt, "early"
    within = Fiber.new { move_on_after(0.001, with_value: :late) { sleep } }
    expect([within.resume, waiting.await, fiber.dead?, Fiber.current.children]).to eq [:late, nil, true, []]
  end

  # Ruby comes back to the main fiber, which had given the turn to another one: that waited for ever.
  it "are not lost where they come before the first word of a fiber that another one lets begin" do
    parent = spin do
      early = spin { :never }
      early.define_singleton_method(:__run__) { |*| Kernel.raise Interrupt, "early" }
      [early.await, early.dead?, Fiber.current.children]
    end
    expect { sleep }.to raise_error Interrupt, "early"
    expect(parent.await).to eq [nil, true, []]
  end

  # One that came in a fiber's first or last steps was lost, or ended the process by an error of ours.
  it "that come while fibers begin and end, end the process" do
    endings = Array.new(10) do |number|
      _, err, status = Child.ruby("Thread.new { sleep #{number} / 4000.0; Process.kill(:TERM, $$) }; loop { spin { spin { snooze }.await }.await }")
      [err, status.termsig || status.exitstatus - 128]
    end
    expect(endings.uniq).to eq [["", Signal.list["TERM"]]]
  end

  it "end children with the main fiber on SIGTERM, their clean-up run" do
    out, = signalled(<<~RUBY, :TERM)
      spin do
        sleep
      ensure
        puts "cleaned"
      end
      snooze
      begin
        puts "READY \#{$$}"
        sleep
      rescue SignalException => e
        puts e.message
        exit 0
      end
    RUBY
    expect(out).to eq "SIGTERM\ncleaned\n"
  end

  describe "that tell a program to end" do
    # What the process ended by, and what it said.
    def terminated(script)
      reader, writer = IO.pipe
      pid = spawn(*Child::RUBY, "-I", Child::LIBRARY, "-rpolyphony", "-e", "$stdout.sync = true\n#{script}", out: writer)
      writer.close
      reader.gets
      Process.kill(:TERM, pid)
      out = reader.read
      status = Process.wait2(pid)[1]
      [out, status.termsig || status.exitstatus]
    ensure
      reader.close
    end

    {
      "that runs fibers" => "Polyphony.scheduler!; spin { sleep }", "that does not" => ""
    }.each do |name, before|
      it "end one #{name} by the signal, its clean-up run" do
        expect(terminated(<<~RUBY)).to eq ["cleaned\n", Signal.list["TERM"]]
          begin
            #{before}
            puts "ready"
            sleep
          ensure
            puts "cleaned"
          end
        RUBY
      end

      it "raise SystemExit in the main fiber of one #{name}, where it asks for that" do
        expect(terminated(<<~RUBY)).to eq ["SystemExit\n", 0]
          trap("TERM") { exit }
          begin
            #{before}
            puts "ready"
            sleep
          rescue SystemExit => e
            puts e.class
            raise
          end
        RUBY
      end
    end
  end

  it "end a program whose child will not end: the first tells it, the second tells it again, the third leaves it" do
    reader, writer = IO.pipe
    pid = fork do
      $stderr.reopen(File::NULL)
      spin do
        loop do
          writer.puts "waits"
          sleep
        rescue Exception # rubocop:disable Lint/RescueException
          next
        end
      end
      sleep
    end
    writer.close
    3.times do
      expect(reader.gets).to eq "waits\n"
      Process.kill(:TERM, pid)
    end
    expect([Process.wait2(pid)[1].termsig, reader.gets]).to eq [15, nil]
  ensure
    reader.close
  end

  it "are none of them lost where they are many" do
    out, = signalled(<<~RUBY)
      seen = 0
      trap(:USR1) { sleep 0; seen += 1 }
      Polyphony.scheduler!
      puts "READY \#{$$}"
      300.times { |n| Process.kill(:USR1, $$); sleep 0 until seen == n + 1 }
      puts seen
    RUBY
    expect(out).to eq "300\n"
  end

  it "kill by default a child that waits in the ring" do
    out = Child.ruby!("pid = fork { spin { sleep }.await }; Process.kill(:TERM, pid); print Process.wait2(pid)[1].termsig")
    expect(out).to eq "15"
  end

  it "whose handler raises, raise in the main fiber" do
    out, = signalled(<<~RUBY, :USR1)
      trap(:USR1) { raise IOError, "from the handler" }
      begin
        spin { nil }.await
        puts "READY \#{$$}"
        sleep
      rescue IOError => e
        puts e.message
      end
    RUBY
    expect(out).to eq "from the handler\n"
  end

  it "have handlers that are no workers: a main fiber that supervises neither hears of them nor runs them again" do
    out = Child.ruby!(<<~RUBY)
      runs = 0
      trap(:USR1) { snooze; runs += 1 }
      worker = spin(:worker) do
        Process.kill(:USR1, $$)
        snooze until runs.positive?
        20.times { snooze }
      end
      supervise(worker) do |fiber, _result|
        puts fiber.tag
        fiber.equal?(worker) ? break : fiber.restart
      end
      puts runs
    RUBY
    expect(out).to eq "worker\n1\n"
  end

  it "are ignored where the handler is nil, and heard by one for the end of the process" do
    out = Child.ruby!(<<~RUBY)
      snooze
      trap("USR1", nil)
      Process.kill("USR1", Process.pid)
      trap("EXIT") { print "ended" }
      sleep 0.001
    RUBY
    expect(out).to eq "ended"
  end

  it "give back the earlier handler" do
    earlier = proc { nil }
    trap(:USR2, earlier)
    expect(trap(:USR2, "DEFAULT")).to respond_to(:call)
    expect(trap(:USR2, "DEFAULT")).to eq "DEFAULT"
  end

  # A fiber that was made in a trap handler could lock nothing, `require` included.
  it "are handled where Ruby's own locks may be taken" do
    out, err, status = signalled(<<~RUBY, :USR1)
      require "monitor"
      trap(:USR1) { require "ripper"; Fiber.new(blocking: true) { Mutex.new.lock }.resume; puts Thread.new { Monitor.new.synchronize { :locked } }.value }
      Polyphony.scheduler!
      puts "READY \#{$$}"
      sleep 0.001 until defined?(Ripper)
      sleep 0.001 until Fiber.current.children.empty?
    RUBY
    expect([out, err, status]).to eq ["locked\n", "", 0]
  end

  it "are handled in the order in which they came, the last at the end of the process" do
    out = Child.ruby!(<<~RUBY)
      trap(:USR1) { print 1 }
      trap(:USR2) { print 2 }
      snooze
      2.times { %i[USR1 USR2].each { |signal| Process.kill(signal, $$) } }
    RUBY
    expect(out).to eq "1212"
  end

  # A handler that is not ours, in the middle of a write of the same stream: stock Ruby 3.1 holds no lock there that the
  # handler may want, and neither do we. Where the stock Ruby of today does, the scheduler alone may, too.
  describe "write, in a stock handler, to what the program is writing to" do
    WRITER = <<~'RUBY'
      require "pty"
      way, kind, answer = ARGV
      reading, writing = kind == "terminal" ? PTY.open.tap { |_, terminal| terminal.raw! } : IO.pipe
      writing.sync = false
      ready, begun = Array.new(2) { IO.pipe }
      said = nil
      Signal.trap(:USR1) do
        begun.last.syswrite("!")
        writing.write(answer = "told" * answer.to_i)
        writing.flush
        said = :said
      rescue ThreadError => e
        said = e.message
      end
      program = Process.pid
      reader = fork do
        Signal.trap(:USR1, "DEFAULT")
        [writing, ready.last, begun.last].each(&:close)
        ready.first.read(1)
        Thread.pass until File.read("/proc/#{program}/stat")[/\) (\w)/, 1] == "S"
        Process.kill(:USR1, program)
        begun.first.read(1)
        size = 0
        begin
          loop { size += reading.readpartial(65_536).size }
        rescue EOFError, Errno::EIO
          exit!(size == 200_000 + 4 * answer.to_i ? 0 : 1)
        end
      end
      [reading, ready.first, begun.first].each(&:close)
      work = lambda do
        sleep 0.001
        writing.write("x" * 100)
        ready.last.syswrite("!")
        writing.write("x" * 199_900)
        writing.flush
      end
      case way
      when "the bare scheduler"
        Fiber.set_scheduler(Polyphony::FiberScheduler.new)
        Fiber.schedule(&work)
        Fiber.scheduler.run
      when "the drop-in" then Polyphony.scheduler!.then { work.call }
      when "a fiber of the drop-in" then spin(&work).await
      else work.call
      end
      writing.close
      Process.wait(reader)
      puts said, $?.exitstatus
    RUBY

    def written(way, loaded, kind, size)
      Child.ruby!("Warning[:experimental] = false\nrequire 'io/console'\n#{WRITER}", way, kind, size.to_s, loaded: loaded)
    end

    { "the bare scheduler" => "polyphony/bare", "the drop-in" => "polyphony", "a fiber of the drop-in" => "polyphony" }.each do |way, loaded|
      { "a little to a pipe" => ["pipe", 1], "much to a pipe" => ["pipe", 20_000], "a little to a terminal" => ["terminal", 1] }.each do |name, (kind, size)|
        it "#{name}, with #{way}" do
          said = written(way, loaded, kind, size)
          stock = -> { Array.new(5) { written("stock Ruby", nil, kind, size) } }
          skip "stock Ruby itself cannot" if way == "the bare scheduler" && said != "said\n0\n" && stock.call.include?(said)
          expect(said).to eq "said\n0\n"
        end
      end
    end
  end
end
