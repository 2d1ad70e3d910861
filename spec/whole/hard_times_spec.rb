# frozen_string_literal: true

# What comes at a bad time: interrupts in the middle of a wait, locks that nobody lets go, descriptors that are closed
# under a reader. Each example is a process of its own, once with all names and once with Ruby's interface alone.
RSpec.describe "In hard times" do
  words = {
    "polyphony" => <<~'RUBY',
      def go(&block) = spin(&block).tap { snooze }
      def finish = Fiber.current.await_all_children
      def serving(&block) = Thread.new { Thread.current.report_on_exception = false; block.call }
      def interrupt(fiber, error) = fiber.raise(error)
    RUBY
    "polyphony/bare" => <<~'RUBY'
      Fiber.set_scheduler(Polyphony::FiberScheduler.new)
      def go(&block) = Fiber.schedule(&block)
      def finish = Fiber.scheduler.run
      def serving
        Thread.new do
          Thread.current.report_on_exception = false
          Fiber.set_scheduler(Polyphony::FiberScheduler.new)
          yield
        end
      end
      def interrupt(fiber, error) = Fiber.scheduler.fiber_interrupt(fiber, error)
    RUBY
  }

  common = <<~'RUBY'
    Warning[:experimental] = false
    require "socket"
    require "io/wait"
    require "timeout"
    LOG = []
    CHILDREN = []
    at_exit { CHILDREN.each { |pid| Process.kill(:KILL, pid) } }
    Addrinfo.singleton_class.prepend(Module.new { def getaddrinfo(*) = Queue.new.pop }) # a name server that never answers
    # Logs what a block returns or raises.
    def logging
      LOG << yield
    rescue Exception => e
      LOG << "#{e.class}: #{e.message}"
    end
    # A thread that says when it has come so far, and that waits since.
    def come_to_rest(thread) = (Thread.pass until thread.thread_variable_get(:there) && thread.stop?)
    def here = Thread.current.thread_variable_set(:there, true)
    # A thread with a fiber, for others to kill: its end is logged.
    def doomed(&block)
      serving do
        go(&block)
        here
        finish
      ensure
        LOG << :ended
      end
    end
  RUBY

  every_wait = {
    block: "Queue.new.pop",
    kernel_sleep: "sleep",
    io_wait: "(pipe = IO.pipe)[0].wait_readable",
    io_read: "(pipe = IO.pipe)[0].read(1)",
    io_write: "(pipe = IO.pipe)[1].write('x' * 300_000)",
    io_select: "IO.select([(pipe = IO.pipe)[0]])",
    process_wait: "Process.wait(CHILDREN.push(spawn('sleep 60', out: File::NULL, err: File::NULL)).last)",
    address_resolve: "Polyphony::FiberScheduler.new.address_resolve('nobody.example')"
  }

  words.each do |loaded, prelude|
    context "with #{loaded}" do
      alone = loaded == "polyphony/bare"
      # Before 3.2 Ruby asks no scheduler there.
      waits = every_wait.reject { |hook, _| alone && hook == :io_select && RUBY_VERSION < "3.2" }

      define_method(:log_of) do |body|
        eval(Child.ruby!("#{common}#{prelude}#{body}\np LOG", loaded:)) # rubocop:disable Security/Eval
      end

      it "Thread#raise in the middle of a hook is the main fiber's, and the wait goes on until it is ended itself" do
        expect(log_of(<<~RUBY)).to eq waits.keys.flat_map { |hook| [hook, "RuntimeError: told", true, "ArgumentError: ended", :over] }
          {#{waits.map { |hook, wait| "#{hook}: -> { #{wait} }" }.join(", ")}}.each do |hook, wait|
            LOG << hook
            thread = serving do
              fiber = go { logging(&wait) }
              logging { here; finish }
              LOG << fiber.alive?
              interrupt(fiber, ArgumentError.new("ended"))
              finish
              LOG << :over
            end
            come_to_rest(thread)
            thread.raise("told")
            thread.join
          end
        RUBY
      end

      it "Thread#kill in the middle of a hook ends the thread" do
        expect(log_of(<<~RUBY)).to eq waits.keys.flat_map { |hook| [hook, :ended, nil] }
          {#{waits.map { |hook, wait| "#{hook}: -> { #{wait} }" }.join(", ")}}.each do |hook, wait|
            LOG << hook
            thread = doomed(&wait)
            come_to_rest(thread)
            thread.kill
            LOG << thread.value
          end
        RUBY
      end

      {
        "is heard where its thread blocks next, if it is masked until then" =>
          [":on_blocking", "LOG.size > 1", [:still, "RuntimeError: told", :woken]],
        "is heard when the mask ends, if it is masked throughout" =>
          [":never", "thread.stop?", [:still, :woken, :finished, "RuntimeError: told"]]
      }.each do |what, (mask, time, expected)|
        it "Thread#raise just before a wait #{what}" do
          expect(log_of(<<~RUBY)).to eq expected
            queue = Queue.new
            thread = serving do
              go { queue.pop; LOG << :woken }
              logging do
                Thread.handle_interrupt(RuntimeError => #{mask}) do
                  Thread.current.raise("told")
                  LOG << :still
                  finish
                  LOG << :finished
                end
              end
              LOG.delete_if { |entry| entry.is_a?(Array) }
              finish
            end
            Thread.pass until LOG.include?(:still) && (#{time})
            queue << :woken
            thread.join
          RUBY
        end
      end

      it "Thread#raise that a fiber has masked until it waits is the main fiber's, and the wait lasts" do
        expect(log_of(<<~RUBY)).to eq [:before, "RuntimeError: told", :woken]
          serving do
            queue = Queue.new
            logging do
              go do
                Thread.handle_interrupt(RuntimeError => :on_blocking) do
                  Thread.current.raise("told")
                  LOG << :before
                  LOG << queue.pop
                end
              end
              finish
            end
            queue << :woken
            finish
          end.join
        RUBY
      end

      # Heard where the thread waits, and that is another fiber's place: Ruby alone drops fibers that wait as they are.
      unwound = alone ? [] : [:ensured]
      { on_blocking: ["sleep", [:before, *unwound, :ended, nil]],
        never: ["sleep 0.001", [:before, :slept, :ensured, :ended, nil]] }.each do |mask, (wait, expected)|
        it "Thread#kill just before a wait of a fiber that masks it (#{mask}) ends the thread when the mask lets it" do
          expect(log_of(<<~RUBY)).to eq expected
            thread = doomed do
              me = Thread.current
              Thread.handle_interrupt(Object => :#{mask}) do
                killer = Thread.new { me.kill }
                Thread.pass while killer.alive?
                LOG << :before
                #{wait}
                LOG << :slept
              end
              LOG << :not_here
            ensure
              LOG << :ensured
            end
            LOG << thread.value
          RUBY
        end
      end

      {
        "another fiber" => "go { sleep 0; r.close }", "the main fiber" => "r.close", "another thread" => "Thread.new { r.close }.join"
      }.each do |who, close|
        # A write of which a part was out by then went on, on a number that was closed.
        it "what waits ends with an IOError where #{who} closes the IO, as in a thread of stock Ruby" do
          expect(log_of(<<~RUBY)).to eq ["IOError: stream closed in another thread", true] * 4
            [:gets, [:read, 1], :wait_readable, [:write, "x" * 9_000_000]].each do |call|
              r, w = UNIXSocket.pair
              go { logging { r.public_send(*call) } }
              sleep 0
              #{close}
              finish
              LOG << r.closed?
            end
          RUBY
        end
      end

      {
        "another fiber" => "go { sleep 0; r.close }", "the main fiber" => "r.close", "another thread" => "serving { go { r.close }; finish }.join"
      }.each do |who, close|
        # With Ruby 3.3 and 3.4 the close took until that thread ended, or for ever.
        it "a thread without fibers is inside a call on what #{who} closes: it hears of it, and goes on" do
          expect(log_of(<<~RUBY)).to eq ["stream closed in another thread", "Bad file descriptor"] * 3
            ["r.read", "r.wait_readable", "r.flock(File::LOCK_EX)"].each do |call|
              r, w = call.include?("flock") ? Array.new(2) { File.open(Gem.ruby) } : IO.pipe
              w.flock(File::LOCK_EX) if call.include?("flock")
              said, over = Queue.new, Queue.new
              thread = Thread.new do
                here
                eval(call)
              rescue IOError => e
                said << e.message
                over.pop
              end
              come_to_rest(thread)
              number = r.fileno
              #{close}
              finish
              LOG << said.pop
              LOG << (IO.for_fd(number, autoclose: false) && "open" rescue $!.message)
              over << nil
              thread.join
              w.close
            end
          RUBY
        end
      end

      unless alone || RUBY_VERSION < "3.2" # where Ruby holds the closing thread meanwhile
        # Ruby has forgotten the descriptor by then, and nobody would have closed it.
        it "a close that waits for another thread to let go is not cancelled" do
          expect(log_of(<<~RUBY)).to eq [true, "RuntimeError: cancelled", "stream closed in another thread", "Bad file descriptor"]
            r, w = Array.new(2) { File.open(Gem.ruby) }
            w.flock(File::LOCK_EX)
            thread = Thread.new do
              here
              Thread.handle_interrupt(IOError => :never) { r.flock(File::LOCK_EX) }
            rescue IOError => e
              e.message
            end
            come_to_rest(thread)
            number = r.fileno
            fiber = go { logging { r.close } }
            interrupt(fiber, RuntimeError.new("cancelled"))
            3.times { snooze }
            LOG << fiber.alive?
            w.flock(File::LOCK_UN)
            finish
            LOG << thread.value
            LOG << (IO.for_fd(number, autoclose: false) && "open" rescue $!.message)
          RUBY
        end
      end

      it "an IO is closed under a reader in another thread, and all who wait hear of it" do
        expect(log_of(<<~RUBY)).to eq [*["IOError: stream closed in another thread"] * 3, "sent"]
          r, w = UNIXSocket.pair
          w.sync = false
          thread = serving do
            go { logging { w.gets } }
            go { logging { w.wait_readable } }
            go { logging { w.read } }
            here
            finish
          end
          come_to_rest(thread)
          w.print("sent")
          w.close
          thread.join
          LOG << r.read
        RUBY
      end

      it "an IO that somebody waited on is closed by the collector, too, when what it holds is out" do
        expect(log_of(<<~RUBY)).to eq ["line\n", "sent", true]
          r, w = UNIXSocket.pair
          go { logging { w.gets } }
          sleep 0
          r.puts "line"
          finish
          pid = fork do
            w.sync = false
            w.print "sent"
            exit
          end
          Process.wait(pid)
          LOG << r.readpartial(9)
          w.close
          LOG << r.eof?
        RUBY
      end

      it "a scheduler is closed when what it has begun has ended" do
        expect(log_of(<<~RUBY)).to eq [:ended, :closed, false, :another]
          serving do
            Fiber.set_scheduler(Polyphony::FiberScheduler.new)
            fiber = Fiber.schedule { sleep 0.01; LOG << :ended }
            Fiber.set_scheduler(nil)
            LOG << :closed << fiber.alive?
            Fiber.set_scheduler(Polyphony::FiberScheduler.new)
            Fiber.schedule { sleep 0.001; LOG << :another }
          end.join
        RUBY
      end

      it "a scheduler whose fibers can never end is closed with an error, and again when somebody has let them" do
        # Newer Rubies take the scheduler away even so.
        expect(log_of(<<~RUBY)).to match([/\APolyphony::Deadlock: /, :popped, nil]).or match([/\APolyphony::Deadlock: /, nil])
          Fiber.set_scheduler(Polyphony::FiberScheduler.new) unless Fiber.scheduler
          queue = Queue.new
          Fiber.schedule { LOG << queue.pop }
          logging { Fiber.set_scheduler(nil) }
          queue << :popped
          Fiber.set_scheduler(nil)
          LOG << Fiber.scheduler
        RUBY
      end

      it "a fork in a fiber goes on in both processes, and what waits in the parent waits there alone" do
        expect(log_of(<<~RUBY)).to match_array ["from the child\n", 7, "line\n", :woken, true]
          r, w = IO.pipe
          a, b = UNIXSocket.pair
          told, tell = IO.pipe
          log = Queue.new
          waits = [go { log << r.gets }, sleeper = go { sleep(100) rescue log << :woken }, go { a.gets }]
          go { b.puts "for the parent" }
          go do
            pid = fork do
              go { sleep 0.001; tell.puts "from the child" }
              go { r.close }
              finish
              exit!(7)
            end
            Process.wait(pid)
            log << told.gets << $?.exitstatus
            interrupt(sleeper, RuntimeError.new)
            w.write "line\n"
          end
          finish
          LOG.concat(Array.new(log.size) { log.pop })
          LOG << waits.none?(&:alive?)
        RUBY
      end

      it "collections at every allocation, and compactions, change nothing of what is read and written", limit: 40 do
        expect(log_of(<<~RUBY).sort_by(&:to_s)).to eq [100_000, :late, "line 0\n", "line 1\n", "said\n", :item].sort_by(&:to_s)
          a, b = UNIXSocket.pair
          r, w = IO.pipe
          queue = Queue.new
          GC.stress = true
          go { 2.times { |round| b.puts "line \#{round}"; LOG << a.gets; GC.compact } }
          go { w.write("x" * 100_000); w.close; queue << :item }
          go { LOG << r.read.bytesize << queue.pop }
          go { LOG << `echo said` }
          go { Timeout.timeout(0.001) { sleep } rescue LOG << :late }
          finish
          GC.stress = false
        RUBY
      end

      it "a signal goes to the next who waits where the first is cancelled while it waits for the lock again" do
        expect(log_of(<<~RUBY)).to eq [:first_is_over, :second]
          lock, condition = Mutex.new, ConditionVariable.new
          cancelled = Class.new(Exception)
          first = go do
            lock.synchronize { condition.wait(lock) }
            LOG << :first
          rescue cancelled, ThreadError
            LOG << :first_is_over
          end
          go { lock.synchronize { condition.wait(lock); LOG << :second } }
          go do
            lock.synchronize do
              condition.signal
              5.times { sleep 0 }
              interrupt(first, cancelled.new)
              5.times { sleep 0 }
            end
          end
          finish
        RUBY
      end

      # Ruby code of ours that asks something in the middle of a switch hears interrupts.
      it "Thread#kill is heard also where a timeout looks for its fiber" do
        expect(log_of(<<~RUBY)).to eq [:ended, nil]
          Polyphony.singleton_class.prepend(Module.new { def yielded?(*) = (Thread.current.kill; super) })
          thread = doomed do
            Fiber.new { Timeout.timeout(0.001) { Fiber.yield } }.resume
            sleep
            LOG << :not_killed
          end
          LOG << thread.value
        RUBY
      end

      # The handler runs in the middle of a fiber's wait, where nobody can write to a file in its stead: it tried for ever.
      it "a signal handler, and what SIGQUIT tells, writes to a file, though a fiber waits" do
        expect(log_of(<<~RUBY)).to match [:slept, /fibers|told/]
          require "tempfile"
          file = Tempfile.new
          errors = $stderr.dup
          $stderr.reopen(file.path, "w")
          $stderr.sync = true
          Signal.trap(:QUIT) { $stderr.write("told") } unless defined?(spin)
          queue = Queue.new
          go { LOG << queue.pop }
          watcher = Thread.new do
            Thread.pass until Thread.main.stop?
            Process.kill(:QUIT, $$)
            Thread.pass while File.empty?(file.path)
            queue << :slept
          end
          finish
          watcher.join
          $stderr.reopen(errors)
          LOG << File.read(file.path)
        RUBY
      end

      it "a deadlock is an error that says who waits where, and no hang" do
        expect(log_of(<<~RUBY)).to match [/\APolyphony::Deadlock: no fiber can go on: .*main thread.*3 fibers.* waiting for .* at -e:\d+:in .*\n.* at -e:\d+:in /m, :held, :held_too]
          lock = Mutex.new
          queue = Queue.new
          go { lock.synchronize { queue.pop; LOG << :held } }
          go { lock.synchronize { LOG << :held_too } }
          logging { finish; :finished }
          queue << 1
          finish
        RUBY
      end
    end
  end
end
