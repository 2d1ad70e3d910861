# frozen_string_literal: true

RSpec.describe Fiber do
  describe "#spin" do
    everywhere do
      it "runs the block when the caller switches, not before" do
        order = []
        fiber = spin { order << :child }
        order << :parent
        fiber.await
        expect(order).to eq %i[parent child]
      end

      it "runs fibers in the order in which they were spun" do
        order = []
        5.times.map { |number| spin { order << number } }.each(&:await)
        expect(order).to eq [0, 1, 2, 3, 4]
      end

      it "makes a child of the calling fiber, which keeps its tag" do
        fiber = spin(:worker) { suspend }
        expect(fiber.parent).to equal Fiber.current
        expect(fiber.tag).to eq :worker
        expect(Fiber.current.children).to include fiber
        fiber.stop
        fiber.await
        expect(Fiber.current.children).not_to include fiber
      end
    end

    it "makes a fiber that Ruby's own scheduler interface serves" do
      expect(spin { Fiber.current.blocking? }.await).to be false
    end

    it "refuses to run nothing" do
      expect { spin }.to raise_error ArgumentError, /block/
    end

    it "says where it was called" do
      fiber = spin { nil }
      expect(fiber.location).to include "#{__FILE__}:#{__LINE__ - 1}"
      expect(fiber.inspect).to match(/#<Fiber \d+ .*runnable/)
      fiber.await
    end
  end

  describe "#await" do
    everywhere do
      it "returns what the block returned, as often as it is asked" do
        fiber = spin { :result }
        expect([fiber.await, fiber.await, fiber.join, fiber.value]).to eq %i[result result result result]
      end

      it "raises what ended the fiber" do
        fiber = spin { raise KeyError, "which?" }
        expect { fiber.await }.to raise_error KeyError, "which?"
        expect { fiber.await }.to raise_error KeyError, "which?"
      end

      it "serves any number of awaiters" do
        fiber = spin { snooze && nil || :done }
        expect(4.times.map { spin { fiber.await } }.map(&:await)).to eq %i[done] * 4
      end

      it "ends early, and leaves the fiber alone, when the awaiter is stopped" do
        awaited = spin { suspend }
        awaiter = spin { awaited.await }
        snooze
        awaiter.stop(:stopped)
        expect(awaiter.await).to eq :stopped
        expect(awaited.state).to eq :waiting
        awaited.schedule(:goes_on)
        expect(awaited.await).to eq :goes_on
      end
    end

    it "raises in the awaiter and in the parent when they are not the same" do
      heard = []
      child = nil
      parent = spin do
        child = spin { 2.times { snooze }; raise IOError, "both" }
        suspend
      rescue IOError => e
        heard << [:parent, e.message]
      end
      snooze
      awaiter = spin { child.await rescue heard << [:awaiter, $!.message] }
      Fiber.await(parent, awaiter)
      expect(heard).to contain_exactly([:awaiter, "both"], [:parent, "both"])
    end

    it "gives the exception once to a parent that awaits" do
      times = 0
      spin do
        child = spin { raise IOError, "once" }
        begin
          child.await
        rescue IOError
          times += 1
        end
        3.times { snooze }
      end.await
      expect(times).to eq 1
    end

    it "refuses a fiber that waits for itself" do
      fiber = spin { Fiber.current.await }
      expect { fiber.await }.to raise_error FiberError, /itself/
    end

    it "refuses a fiber that nobody spun" do
      expect { Fiber.new { nil }.await }.to raise_error FiberError, /never spun/
    end

    it "raises a result that is an exception" do
      fiber = spin { IOError.new("as a value") }
      expect { fiber.await }.to raise_error IOError, "as a value"
    end
  end

  describe ".await" do
    everywhere do
      it "returns the results in the order given, not the order of ends" do
        slow = spin { 3.times { snooze }; :slow }
        fast = spin { :fast }
        expect(Fiber.await(slow, fast)).to eq %i[slow fast]
        expect(Fiber.await([slow, fast])).to eq %i[slow fast]
      end

      it "ends the others when one fails, waits for their clean-up, and raises" do
        cleaned = false
        bystander = spin do
          suspend
        ensure
          2.times { snooze }
          cleaned = true
        end
        failing = spin { snooze; raise IOError, "first" }
        expect { Fiber.await(bystander, failing) }.to raise_error IOError, "first"
        expect([cleaned, bystander.dead?]).to eq [true, true]
      end
    end

    it "raises a result that is an exception, as await of the one fiber does" do
      log = []
      other = spin { suspend; log << :not }
      [-> { Fiber.await(other, spin { IOError.new("as a value") }) },
       -> { spin { IOError.new("as a value") }; Fiber.current.await_all_children }].each do |waiting|
        expect(&waiting).to raise_error IOError, "as a value"
      end
      expect([log, other.dead?]).to eq [[], true]
    end

    it "returns nothing for nobody" do
      expect(Fiber.await).to eq []
      expect(Fiber.await([])).to eq []
    end

    it "takes the same fiber twice" do
      fiber = spin { snooze; 1 }
      expect(Fiber.await(fiber, fiber)).to eq [1, 1]
    end

    it "refuses what is no fiber" do
      expect { Fiber.await(42) }.to raise_error(TypeError)
      expect { Fiber.await(nil) }.to raise_error(TypeError)
    end

    it "is linear: ten thousand children are awaited in few turns" do
      Thread.current.backend.stats # from here on
      sum = Fiber.await(*Array.new(10_000) { |number| spin { snooze; number } }).sum
      expect(sum).to eq 49_995_000
      expect(Thread.current.backend.stats[:switch_count]).to be < 40_000
    end
  end

  describe ".select" do
    it "returns the first that ends and its result; the others go on" do
      slow = spin { suspend }
      fast = spin { :fast }
      expect(Fiber.select(slow, fast)).to eq [fast, :fast]
      expect(slow).not_to be_dead
      slow.stop
      slow.await
    end

    it "is nil for nobody" do
      expect(Fiber.select).to be_nil
    end
  end

  describe "#stop" do
    everywhere do
      it "ends the fiber where it waits, with the value" do
        fiber = spin { suspend; :not_reached }
        snooze
        expect(fiber.stop(:value)).to equal fiber
        expect(fiber.await).to eq :value
      end

      it "keeps a fiber that has not begun from running at all" do
        ran = false
        fiber = spin { ran = true }
        fiber.stop(:early)
        expect([fiber.await, ran]).to eq [:early, false]
      end

      it "lets clean-up code wait" do
        log = []
        fiber = spin do
          suspend
        ensure
          sleep 0.001
          log << :cleaned
        end
        snooze
        fiber.stop
        fiber.await
        expect(log).to eq [:cleaned]
      end
    end

    it "says nil to a fiber that has ended" do
      fiber = spin { nil }
      fiber.await
      expect([fiber.stop, fiber.interrupt, fiber.kill, fiber.cancel, fiber.terminate]).to all be_nil
    end

    it "is not caught by a plain rescue" do
      fiber = spin do
        suspend
      rescue StandardError
        :caught
      end
      snooze
      fiber.stop(:stopped)
      expect(fiber.await).to eq :stopped
    end
  end

  describe "#cancel" do
    it "ends the fiber with an error, of the class or the very exception given" do
      error = KeyError.new("mine")
      raised = [[], [IOError], [error]].map do |given|
        fiber = spin { suspend }
        snooze
        fiber.cancel(*given).await
      rescue Exception => e # rubocop:disable Lint/RescueException
        e
      end
      expect(raised).to match [an_instance_of(Polyphony::Cancel), an_instance_of(IOError), equal(error)]
    end
  end

  describe "#terminate" do
    it "ends the fiber and says whether there is time" do
      graceful = []
      [true, false].each do |value|
        fiber = spin do
          suspend
        ensure
          graceful << Fiber.current.graceful_shutdown?
        end
        snooze
        fiber.terminate(graceful: value)
        fiber.await
      end
      expect(graceful).to eq [true, false]
    end
  end

  describe "#raise" do
    it "raises in the fiber, not in the caller, in every form that Kernel#raise knows" do
      raised = [[], ["text"], [IOError], [IOError, "why"], [IOError.new("made")]].map do |arguments|
        fiber = spin do
          suspend
        rescue StandardError => e
          [e.class, e.message]
        end
        snooze
        expect(fiber.raise(*arguments)).to equal fiber
        fiber.await
      end
      expect(raised).to eq [
        [RuntimeError, "unhandled exception"], [RuntimeError, "text"], [IOError, "IOError"],
        [IOError, "why"], [IOError, "made"]
      ]
    end

    it "refuses what is no exception" do
      fiber = spin { suspend }
      snooze
      expect { fiber.raise(42) }.to raise_error TypeError, "exception class/object expected"
      fiber.stop
      fiber.await
    end

    it "keeps a cause that is given" do
      fiber = spin { suspend }
      snooze
      fiber.raise(IOError, "why", cause: KeyError.new("because"))
      expect { fiber.await }.to raise_error(IOError) { |e| expect(e.cause).to be_a KeyError }
    end

    it "keeps its stock meaning for a fiber that nobody spun" do
      fiber = Fiber.new { Fiber.yield rescue $!.message }
      fiber.resume
      expect(fiber.raise("stock")).to eq "stock"
    end
  end

  describe "#schedule" do
    it "resumes with the value, which ends the wait" do
      fiber = spin { [suspend, sleep, sleep(1000)] }
      3.times do |number|
        snooze
        fiber.schedule(number)
        snooze
      end
      expect(fiber.await).to eq [0, 1, 2]
    end

    it "resumes once where it is called twice: the last value wins" do
      fiber = spin { suspend }
      snooze
      fiber.schedule(1)
      fiber.schedule(2)
      expect(fiber.await).to eq 2
    end

    it "lets no value replace an exception" do
      fiber = spin { suspend }
      snooze
      fiber.raise(IOError, "stays")
      fiber.schedule(2)
      expect { fiber.await }.to raise_error IOError, "stays"
    end

    it "moves a fiber to the tail; with priority to the head" do
      order = []
      fibers = %i[a b c].map { |name| spin { order << name } }
      fibers[0].schedule
      fibers[2].schedule_with_priority
      Fiber.await(*fibers)
      expect(order).to eq %i[c b a]
    end

    it "says nothing of a fiber that has ended" do
      fiber = spin { nil }
      fiber.await
      expect(fiber.schedule(1)).to equal fiber
    end

    it "refuses a fiber that nobody spun, and what is no fiber" do
      expect { Fiber.new { nil }.schedule }.to raise_error FiberError, /never spun/
      expect { Polyphony.schedule(42, nil, false) }.to raise_error TypeError, /Integer/
    end
  end

  describe "#restart" do
    it "runs the block again from the top, in the same fiber" do
      runs = 0
      fiber = spin do |value|
        runs += 1
        runs < 3 ? suspend : value
      end
      snooze
      2.times do |number|
        fiber.restart(number)
        snooze
      end
      expect([fiber.await, runs]).to eq [1, 3]
    end

    it "makes a new fiber of the same parent where it has ended" do
      fiber = spin(:again) { |value| [value, Fiber.current.tag] }
      expect(fiber.await).to eq [nil, :again]
      again = fiber.restart(:value)
      expect(again).not_to equal fiber
      expect(again.await).to eq %i[value again]
      expect(fiber.restart.await).to eq [nil, :again]
    end

    it "keeps children, drops messages, and gives the block the value" do
      runs = []
      fiber = spin { |value| runs << [value, receive_all_pending, Fiber.current.children.size]; spin { suspend }; suspend }
      snooze
      fiber << :dropped
      fiber.restart(:value)
      2.times { snooze }
      expect(runs).to eq [[nil, [], 0], [:value, [], 1]]
      fiber.stop
      fiber.await
    end

    it "is refused by a main fiber" do
      expect { Fiber.current.restart }.to raise_error FiberError, /main/
    end

    it "gives one mailbox to threads that send their first messages at once" do
      expect(Child.ruby!(<<~RUBY)).to eq "[:other, :mine]\n"
        Thread::Queue.prepend(Module.new { def initialize(*) = ($meanwhile&.then { |call| $meanwhile = nil; call.call }; super) })
        fiber = spin { suspend; [receive, receive] }
        $meanwhile = -> { Thread.new { fiber << :other }.join }
        fiber << :mine
        fiber.schedule
        p fiber.await
      RUBY
    end

    it "takes no stack a restart" do
      runs = 0
      fiber = spin do
        runs += 1
        suspend if runs <= 20_000
      end
      snooze
      until fiber.dead?
        fiber.restart
        snooze
      end
      expect(runs).to eq 20_001
    end
  end

  describe "messages" do
    everywhere do
      it "come in the order in which they were sent" do
        fiber = spin { [receive, receive, receive] }
        expect(fiber << 1).to equal fiber
        fiber << 2
        fiber.send(3)
        expect(fiber.await).to eq [1, 2, 3]
      end

      it "may be taken all at once" do
        fiber = spin { suspend; [receive_all_pending, receive_all_pending] }
        fiber << 1 << 2
        snooze
        fiber.schedule
        expect(fiber.await).to eq [[1, 2], []]
      end
    end

    it "may be exceptions, which are not raised" do
      fiber = spin { receive.message }
      fiber << IOError.new("a message")
      expect(fiber.await).to eq "a message"
    end

    it "may come too late: whoever sends them is not told" do
      fiber = spin { nil }
      fiber.await
      expect([fiber << 1, fiber.send(2), fiber.receive_all_pending]).to eq [fiber, fiber, [1, 2]]
    end

    it "wake a loop until it breaks" do
      fiber = spin do
        taken = []
        receive_loop { |message| message == :end ? break : taken << message }
        taken
      end
      [1, 2, :end].each { |message| fiber << message }
      expect(fiber.await).to eq [1, 2]
    end
  end

  describe "children" do
    everywhere do
      it "end with their parent, which waits for their clean-up" do
        log = []
        parent = spin do
          spin do
            suspend
          ensure
            2.times { snooze }
            log << :child
          end
          snooze
          :parent
        end
        expect(parent.await).to eq :parent
        expect(log).to eq [:child]
      end

      it "tell their parent first in line what ended them" do
        parent = spin do
          spin { raise IOError, "from below" }
          suspend
        end
        expect { parent.await }.to raise_error IOError, "from below"
      end
    end

    it "end when a grandchild's error passes through their parent" do
      log = []
      top = spin do
        spin do
          suspend
        ensure
          log << :sibling
        end
        spin { spin { raise IOError, "deep" }; suspend }
        suspend
      end
      expect { top.await }.to raise_error(IOError) { |e| expect(e.message).to eq "deep" }
      expect(log).to eq [:sibling]
    end

    it "that have not begun do not run" do
      ran = false
      spin { spin { ran = true }; nil }.await
      expect(ran).to be false
    end

    it "by the ten thousand end in linear time" do
      ended = 0
      spin do
        10_000.times do
          spin do
            suspend
          ensure
            ended += 1
          end
        end
        snooze
      end.await
      expect(ended).to eq 10_000
    end

    it "are awaited all together" do
      results = spin do
        3.times { |number| spin { number } }
        Fiber.current.await_all_children
      end.await
      expect(results).to eq [0, 1, 2]
    end

    it "go to another parent when they are attached there" do
      other = spin { suspend }
      child = nil
      spin { child = spin { suspend }; child.attach_to(other) }.await
      expect([child.parent, child.dead?]).to eq [other, false]
      snooze
      other.stop
      other.await
      expect(child).to be_dead
    end

    it "belong to the main fiber when they are detached" do
      child = nil
      spin { child = spin { suspend }.detach }.await
      expect(child.parent).to equal Thread.current.main_fiber
      child.stop
      child.await
    end

    it "whose clean-up fails tell it to their parent's awaiter" do
      parent = spin do
        spin do
          suspend
        ensure
          raise IOError, "in ensure"
        end
        snooze
      end
      expect { parent.await }.to raise_error IOError, "in ensure"
    end
  end

  describe "#state" do
    it "tells what the fiber does" do
      states = []
      fiber = spin { states << Fiber.current.state; suspend }
      states << fiber.state
      snooze
      states << fiber.state
      fiber.schedule
      states << fiber.state
      fiber.await
      states << fiber.state
      expect(states).to eq %i[runnable running waiting runnable dead]
    end
  end

  it "may be transferred to, which runs it first" do
    log = []
    me = Fiber.current
    spin { log << :other }
    fiber = spin { |value| log << value; me.schedule(:back) }
    expect([fiber.safe_transfer(:value), log]).to eq [:back, %i[value other]]
  end

  it "may be parked: whatever is scheduled waits until it is unparked" do
    log = []
    fiber = spin { log << sleep(0.001); log << suspend }
    snooze
    fiber.__park__
    sleep 0.001 until Thread.current.backend.stats[:timers].zero?
    fiber.schedule(:early)
    2.times { snooze }
    expect([log, fiber.__parked__?]).to eq [[], true]
    fiber.__unpark__
    snooze
    fiber.schedule(:later)
    fiber.await
    expect([log, fiber.__parked__?]).to eq [%i[early later], nil]
  end

  it "runs out of band first of all, and raises in the main fiber" do
    log = []
    spin { log << :other }
    fiber = Fiber.schedule_priority_oob_fiber { log << [Fiber.current.oob, Fiber.current.tag]; snooze; raise IOError, "out of band" }
    expect { sleep }.to raise_error IOError, "out of band"
    expect([log, fiber.location]).to match [[[true, :oob], :other], /\(oob\)/]
  end

  it "runs out of band in its own thread" do
    log = Queue.new
    thread = Thread.new { Fiber.schedule_priority_oob_fiber { log << Thread.current }; sleep 0 }
    expect(log.pop).to equal thread
    thread.join
  end

  it "stands where its user's block does, whichever verb spins it" do
    fibers = [spin { nil }, spin_loop { suspend }, spin_loop(rate: 10) { suspend }, after(10) { nil }]
    fibers << spin_scope { Fiber.current }
    expect(fibers.map(&:location)).to all include "#{__FILE__}:"
  ensure
    Fiber.current.shutdown_all_children
  end

  it "has an event of its own, and says where it was spun as it is told" do
    fiber = spin { Fiber.current.auto_watcher.await }
    fiber.set_caller(["here:1", "there:2"])
    snooze
    expect([fiber.caller, fiber.location]).to eq [["here:1", "there:2"], "here:1"]
    fiber.auto_watcher.signal(:signalled)
    expect(fiber.await).to eq :signalled
  end

  # One told to end while it waited for its children ended with an error.
  it "ends as usual when it is told twice to end" do
    fiber = spin { spin { begin; suspend; ensure; 5.times { snooze }; end }; suspend }
    2.times { snooze }
    fiber.stop(:first)
    2.times { snooze }
    fiber.terminate
    expect(fiber.await).to eq :first
  end

  def clean_up_slowly
    suspend
  ensure
    begin
      3.times { snooze }
    ensure
      yield
    end
  end

  # A stop while children were being stopped skipped their siblings (R28).
  it "ends every child though it is told to end in the middle of that" do
    ended = []
    fiber = spin { 5.times { |number| spin { clean_up_slowly { ended << number } } }; suspend }
    2.times { snooze }
    3.times { fiber.stop; snooze }
    fiber.await
    expect(ended).to eq [0, 1, 2, 3, 4]
  end

  # Of a thousand sleepers some never heard that they were to end (#33).
  it "ends a thousand sleepers, started or not, timers or not" do
    fibers = Array.new(1000) { |number| spin { number.odd? ? sleep : sleep(1000) } }
    snooze
    fibers.concat(Array.new(100) { spin { sleep } })
    fibers.each(&:terminate)
    expect(Fiber.await(*fibers).compact).to be_empty
  end

  describe "made by Fiber.new, that waits in one that was spun," do
    waits = {
      "a queue" => ->(wake) { queue = Thread::Queue.new; wake.call { queue << :woken }; queue.pop },
      "await" => ->(wake) { event = Polyphony::Event.new; fiber = spin { event.await }; wake.call { event.signal(:woken) }; fiber.await },
      "a thread" => ->(_) { Thread.new { :woken }.value },
      "a message" => ->(wake) { fiber = Fiber.current; wake.call { fiber.mailbox << :woken }; fiber.mailbox.shift }
    }
    waits.each do |name, wait|
      it "is woken from #{name}" do
        wake = ->(&block) { spin { 2.times { snooze }; block.call } }
        expect(spin { Fiber.new { wait.call(wake) }.resume }.await).to eq :woken
        expect(Fiber.new { wait.call(wake) }.resume).to eq :woken
      end
    end

    it "is left when the time is up" do
      expect(move_on_after(0.001, with_value: :late) { Fiber.new { sleep }.resume }).to eq :late
      expect(spin { move_on_after(0.001, with_value: :late) { Fiber.new { suspend }.resume } }.await).to eq :late
    end

    it "can be set up to be scheduled" do
      log = []
      fiber = Fiber.new { |first| log << first << suspend }
      fiber.setup_raw
      fiber.schedule(:first)
      snooze
      fiber.schedule(:value)
      snooze
      expect([log, fiber.alive?, fiber.parent, fiber.thread]).to eq [%i[first value], false, nil, Thread.current]
      fiber.schedule
      snooze
    end
  end

  it "knows which fiber an exception ended" do
    fiber = spin { raise IOError }
    expect { fiber.await }.to raise_error(IOError) { |e| expect(e.source_fiber).to equal fiber }
  end

  describe "made by Fiber.new" do
    everywhere do
      it "resumes and yields as ever while its body waits" do
        fiber = Fiber.new do |first|
          sleep 0.001
          second = Fiber.yield(first + 1)
          snooze
          second + 1
        end
        expect([fiber.resume(1), fiber.resume(10), fiber.alive?]).to eq [2, 11, false]
      end

      it "lets others run while an enumerator waits" do
        numbers = Enumerator.new do |yielder|
          3.times do |number|
            sleep 0.001
            yielder << number
          end
        end
        ticks = 0
        ticker = spin { loop { ticks += 1; sleep 0.0002 } }
        expect([numbers.next, numbers.next, numbers.next]).to eq [0, 1, 2]
        expect(ticks).to be > 0
        ticker.stop
        ticker.await
      end
    end

    everywhere do
      it "may wait for what others give: a result, an item, a lock, a thread" do
        lock = Mutex.new
        items = Queue.new
        holder = spin { lock.synchronize { snooze } }
        snooze
        waits = [
          -> { spin { snooze; :result }.await },
          -> { spin { snooze; items << :item }; items.pop },
          -> { lock.synchronize { :locked } },
          -> { Thread.new { :value }.value }
        ]
        expect(waits.map { |wait| Fiber.new(&wait).resume }).to eq %i[result item locked value]
        holder.await
      end

      it "is left when the time is up, by a timeout within and by one around it" do
        within = Fiber.new { move_on_after(0.001, with_value: :within) { sleep } }
        endless = Enumerator.new { sleep }
        expect([within.resume, move_on_after(0.001, with_value: :around) { endless.next }]).to eq %i[within around]
      end

      it "hears of what was scheduled for the fiber that resumed it before it did" do
        Fiber.current.schedule(RuntimeError.new("early"))
        expect { Enumerator.new { sleep }.next }.to raise_error("early")
      end
    end

    it "finds what another thread gave before it could wait" do
      2_000.times do
        items = Queue.new
        giver = Thread.new { items << :item }
        expect(Fiber.new { items.pop }.resume).to eq :item
        giver.join
      end
    end

    it "is unwound when the fiber that resumed it is stopped" do
      log = []
      fiber = spin do
        numbers = Enumerator.new do |yielder|
          sleep
          yielder << 1
        ensure
          log << :enumerator
        end
        numbers.next
      ensure
        log << :fiber
      end
      snooze
      fiber.stop(:stopped)
      expect([fiber.await, log]).to eq [:stopped, %i[enumerator fiber]]
    end

    it "may be nested, each waiting" do
      inner = Enumerator.new { |y| 2.times { |n| sleep 0.001; y << n } }
      outer = Enumerator.new { |y| 2.times { y << (inner.next * 10) } }
      expect(spin { [outer.next, outer.next] }.await).to eq [0, 10]
    end

    describe "and yielding while a timeout runs in it" do
      timeouts = {
        "move_on_after" => ->(&block) { move_on_after(0.001, with_value: :late, &block) },
        "Timeout.timeout" => ->(&block) { Timeout.timeout(0.001, &block) rescue :late } # rubocop:disable Style/RescueModifier
      }
      everywhere do
        it "keeps the timeout to itself, and finds it when it waits again" do
          found = [timeouts["move_on_after"], timeouts["Timeout.timeout"]].map do |timeout|
            fiber = Fiber.new { timeout.call { Fiber.yield(:yielded); sleep } }
            [fiber.resume, (sleep 0.005), Fiber.new { sleep 0.001; :another }.resume, fiber.resume]
          end
          expect(found).to eq [[:yielded, nil, :another, :late]] * 2
        end
      end

      it "forgets it where the block ends in time" do
        fiber = Fiber.new { [move_on_after(0.001) { Fiber.yield; :in_time }, sleep(0.001)] }
        fiber.resume
        sleep 0.001 until Thread.current.backend.stats[:timers].zero?
        expect(fiber.resume).to eq [:in_time, nil]
      end

      it "leaves it where a fiber within waits" do
        fiber = Fiber.new { move_on_after(0.001, with_value: :late) { Enumerator.new { sleep }.next } }
        expect(fiber.resume).to eq :late
      end
    end
  end

  it "has its turns from its scheduler: who resumes one that was spun is told so, and changes nothing" do
    [-> { nil }, -> { snooze }].each do |begun|
      fiber = spin { 2.times { snooze }; :result }
      begun.call
      %i[resume transfer].each { |verb| expect { fiber.public_send(verb, 1) }.to raise_error Polyphony::FiberError, /was spun.*use schedule/ }
      expect(fiber.await).to eq :result
      expect { fiber.resume }.to raise_error FiberError, /dead|terminated/
    end
    given = ->(*list, **options) { [list, options] }
    expect(Fiber.new(&given).resume(1, two: 2)).to eq [[1], { two: 2 }]
    expect(Fiber.new(&given).transfer({ two: 2 })).to eq [[{ two: 2 }], {}]
  end
end
