# frozen_string_literal: true

RSpec.describe Polyphony::Supervision do
  # A fiber that supervises, until the example is over.
  def supervisor(&block)
    fiber = spin(:supervisor, &block)
    @supervisors = [*@supervisors, fiber]
    fiber
  end

  after do
    @supervisors&.each(&:terminate)
    Fiber.await(*@supervisors) if @supervisors
  end

  def settle = 10.times { snooze }

  describe "#supervise" do
    everywhere do
      it "hears of the end of each fiber given, and of what they ended with" do
        heard = []
        fibers = [spin(:a) { 3.times { snooze }; 1 }, spin(:b) { 3.times { snooze }; raise IOError, "two" }]
        result = spin { supervise(*fibers) { |fiber, value| heard << [fiber.tag, value]; break :broken if heard.size == 2 } }.await
        expect(heard.map { |tag, value| [tag, value.to_s] }).to eq [[:a, "1"], [:b, "two"]]
        expect([result, fibers.map { |fiber| fiber.parent.dead? }]).to eq [:broken, [true, true]]
      end
    end

    it "hears of its children where no fiber is given, and of those that are spun later" do
      heard = []
      boss = supervisor { spin(:early) { :one }; supervise { |fiber, value| heard << [fiber.tag, value] } }
      snooze
      boss.interject { spin(:late) { :two } }
      settle
      expect(heard).to eq [%i[early one], %i[late two]]
    end

    it "goes on for ever, whatever its children do" do
      boss = supervisor { supervise(spin { nil }) }
      settle
      expect([boss.state, boss.children]).to eq [:waiting, []]
    end

    it "ends by StopIteration" do
      expect(spin { supervise(spin { nil }) { raise StopIteration }; :after }.await).to eq :after
    end

    it "calls on_done for each end, on_error for errors only" do
      done = []
      failed = []
      supervisor do
        supervise(spin(:good) { 1 }, spin(:bad) { raise "no" }, on_done: ->(fiber, _) { done << fiber.tag },
                                                                on_error: ->(fiber, error) { failed << [fiber.tag, error.message] })
      end
      settle
      expect([done, failed]).to eq [%i[good bad], [[:bad, "no"]]]
    end

    [:always, true].each do |always|
      it "runs fibers again with restart: #{always.inspect}, as new ones of the same tag" do
        runs = []
        boss = supervisor do
          supervise(spin(:worker) { runs << Fiber.current; runs.size < 3 ? runs.size : suspend }, restart: always)
        end
        settle
        expect([runs.uniq.size, runs.map(&:tag).uniq, runs.map(&:parent).uniq]).to eq [3, [:worker], [boss]]
      end
    end

    it "runs only those again that failed with restart: :on_error" do
      runs = Hash.new(0)
      supervisor do
        supervise(spin { runs[:bad] += 1; runs[:bad] < 4 ? raise("no") : :good }, spin { runs[:good] += 1 }, restart: :on_error)
      end
      settle
      expect(runs).to eq(bad: 4, good: 1)
    end

    it "ends its children with itself" do
      log = []
      boss = supervisor { supervise(spin { begin; suspend; ensure; log << :cleaned; end }) }
      settle
      boss.terminate
      boss.await
      expect(log).to eq [:cleaned]
    end

    # A supervisor that is detached and terminated gracefully waits for its children's clean-up.
    it "waits for clean-up that may take its time, detached or not" do
      log = []
      boss = nil
      spin do
        boss = spin do
          child = spin do
            suspend
          ensure
            if Fiber.current.graceful_shutdown?
              sleep 0.002
              log << :foo
            end
          end
          supervise(child)
        ensure
          log << :bar
        end
        boss.detach
        snooze
      end.await
      settle
      boss.terminate(graceful: true)
      boss.await
      expect([log, boss.parent.main?]).to eq [%i[bar foo], true]
    end

    it "refuses a restart that it does not know, and to supervise for another fiber" do
      expect { supervise(restart: :sometimes) }.to raise_error ArgumentError, /:sometimes/
      fiber = spin { suspend }
      snooze
      expect { fiber.supervise }.to raise_error FiberError
      fiber.stop
      fiber.await
    end
  end

  describe "#monitor" do
    it "tells of the end by a message, and keeps the error from a parent that monitors" do
      fiber = spin { raise IOError, "told" }.monitor(Fiber.current)
      expect(fiber.monitors).to eq [Fiber.current]
      told, result = Fiber.current.monitor_mailbox.shift
      expect([told, result.message]).to eq [fiber, "told"]
    end

    it "tells at once of a fiber that has ended" do
      fiber = spin { :done }
      fiber.await
      fiber.monitor(Fiber.current)
      expect(Fiber.current.monitor_mailbox.shift).to eq [fiber, :done]
    end

    it "tells nothing when it was taken back" do
      fiber = spin { :done }.monitor(Fiber.current).unmonitor(Fiber.current)
      fiber.await
      expect([Fiber.current.monitor_mailbox.empty?, fiber.monitors]).to eq [true, []]
    end

    # What was told of its end was no Fiber: it raised, and those who awaited the end were never told.
    it "is for fibers only, and whoever waits for the end hears of it" do
      fiber = spin { suspend }
      expect { fiber.monitor(1) }.to raise_error TypeError, "only a Fiber can monitor another, not Integer"
      expect { fiber.monitor(nil) }.to raise_error TypeError, "only a Fiber can monitor another, not NilClass"
      expect { Fiber.current.add_child(:child) }.to raise_error TypeError, "only a Fiber can be a child, not Symbol"
      expect(fiber.monitors).to eq []
      expect([fiber.stop.await, Fiber.current.children]).to eq [nil, []]
    end

    it "ends the fiber also where the mailbox is closed" do
      listener = spin { suspend }
      fiber = spin { :done }.monitor(listener)
      listener.monitor_mailbox.close
      expect(fiber.await).to eq :done
      listener.stop.await
    end

    it "goes on with the fiber that is made by a restart" do
      fiber = spin(:told) { :done }.monitor(Fiber.current)
      again = fiber.tap(&:await).restart
      again.await
      expect(Array.new(2) { Fiber.current.monitor_mailbox.shift.first }).to eq [fiber, again]
      expect([again.tag, again.monitors]).to eq [:told, [Fiber.current]]
    end
  end

  # The main fiber went on waiting for the end of one that had ended.
  it "lets a signal through that cut short a fiber's end, of which nobody was told" do
    out = Child.ruby!(<<~RUBY)
      Polyphony::Supervision::Monitoring.prepend(Module.new { def finished(*) = raise(SignalException, "TERM") })
      spin { suspend }.monitor(Fiber.current)
      snooze
      begin
        Fiber.current.shutdown_all_children
      rescue SignalException => e
        puts e.message
      end
    RUBY
    expect(out).to eq "SIGTERM\n"
  end

  it "gives no fiber a parent that cannot end it" do
    fiber = spin { suspend }
    below = fiber.spin { suspend }
    expect { fiber.attach_to(fiber) }.to raise_error FiberError, /cannot be its own parent/
    expect { fiber.attach_to(below) }.to raise_error FiberError, /nor that of its parent/
    expect { fiber.parent = below }.to raise_error FiberError, /nor that of its parent/
    expect { fiber.attach_to(Fiber.new { nil }) }.to raise_error FiberError, /never spun/
    expect { fiber.attach_to(spin { nil }.tap(&:await)) }.to raise_error FiberError, /has ended: it can be no parent/
    expect { fiber.parent = 3 }.to raise_error TypeError, "only a Fiber can be a parent, not Integer"
    expect { fiber.thread = nil }.to raise_error TypeError, "only a Thread runs fibers, not NilClass"
    expect { fiber.thread = 3 }.to raise_error TypeError, "only a Thread runs fibers, not Integer"
    expect { fiber.thread = Thread.new { nil } }.to raise_error FiberError, /stays in its thread/
    expect { Fiber.current.monitor(Fiber.allocate) }.to raise_error FiberError, /uninitialized fiber/
    expect([fiber.parent, Fiber.current.children, fiber.children]).to eq [Fiber.current, [fiber], [below]]
    fiber.stop.await
  end

  # Each thread's end waited for a fiber that only the other could end.
  it "gives no fiber a parent in another thread" do
    theirs, finish = Thread::Queue.new, Thread::Queue.new
    thread = Thread.new { theirs << spin { suspend }; finish.pop }
    fiber = theirs.pop
    mine = spin { suspend }
    expect { mine.attach_to(fiber) }.to raise_error FiberError, /belongs to another thread/
    expect { fiber.attach_and_monitor(mine) }.to raise_error FiberError, /belongs to another thread/
    mine.stop.await
    finish << true
    expect(thread.value).to be true
  end

  # A fiber that ended the fibers of which it is one waited for its own end, and told itself of it for ever.
  describe "where a fiber ends those of which it is one" do
    it "ends the others first, then itself" do
      log = []
      other = spin do
        sleep
      ensure
        log << :other
      end
      fiber = spin do
        snooze
        Fiber.current.parent.shutdown_all_children
        log << :never
      ensure
        log << :itself
      end
      expect([fiber.await, other.dead?, log]).to eq [nil, true, %i[other itself]]
    end

    it "does not wait for those that wait for it" do
      log = []
      outer = spin { spin { Fiber.current.parent.parent.shutdown_all_children; log << :told; sleep; log << :never }.await }
      expect([outer.await, log, Fiber.current.children]).to eq [nil, [:told], []]
    end

    it "takes no parent for one to wait for when another fails" do
      outer = spin { spin { Fiber.await(spin { raise "failed" }, Fiber.current.parent) rescue log = $!; log }; sleep }
      expect(outer.await).to be_nil
    end
  end

  it "lets children change hands, in their order" do
    from = spin { 3.times { |number| spin(number) { suspend } }; suspend }
    to = spin { suspend }
    2.times { snooze }
    expect(from.attach_all_children_to(to)).to equal from
    expect([from.children, to.children.map(&:tag), to.children.map(&:parent).uniq]).to eq [[], [0, 1, 2], [to]]
    child = to.children.first
    child.attach_and_monitor(from)
    expect([from.children, child.monitors]).to eq [[child], [from]]
    [from, to].each(&:stop)
    expect(Fiber.await(from, to)).to eq [nil, nil]
    expect(from.monitor_mailbox.size).to eq 1
  end

  describe "#interject" do
    it "runs the block in the fiber, in the middle of its wait, which goes on" do
      log = []
      fiber = spin { log << sleep(0.01); :end }
      snooze
      expect(fiber.interject { log << Fiber.current; sleep 0.001; log << :waited }).to equal fiber
      expect([fiber.await, log]).to eq [:end, [fiber, :waited, nil]]
    end

    it "leaves a read what it was, though the block reads, too" do
      reader, writer = pipe
      others, feed = pipe
      fiber = spin { [reader.gets, feed.puts("never")] }
      snooze
      feed << "inner\n"
      inner = nil
      fiber.interject { inner = others.gets; writer << "outer\n"; sleep 0.002 }
      expect([fiber.await.first, inner]).to eq ["outer\n", "inner\n"]
    end

    it "raises in the fiber what the block raises" do
      fibers = [-> { raise Polyphony::MoveOn, 5 }, -> { raise IOError, "in there" }].map do |block|
        fiber = spin { sleep rescue $!.message } # rubocop:disable Style/RescueModifier
        snooze
        fiber.interject(&block)
      end
      expect(fibers.map(&:await)).to eq [5, "in there"]
    end

    # It waited for ever: what ended the fiber was kept for the wait around it.
    it "is over when the fiber is ended in the same turn" do
      fiber = spin { suspend }
      snooze
      fiber.interject { sleep }
      expect(fiber.stop.await).to be_nil
      fiber = spin { suspend }
      fiber.interject { sleep }
      expect(fiber.terminate.await).to be_nil
    end

    it "runs several in their order, also before the fiber's block" do
      log = []
      fiber = spin { log << :block }
      3.times { |number| fiber.interject { log << number } }
      fiber.await
      expect(log).to eq [0, 1, 2, :block]
    end

    it "is ended with the fiber" do
      log = []
      fiber = spin { suspend }
      snooze
      fiber.interject { begin; sleep; ensure; log << :cleaned; end }
      2.times { snooze }
      fiber.stop(:stopped)
      expect([fiber.await, log]).to eq [:stopped, [:cleaned]]
    end

    it "reaches a fiber of another thread" do
      fiber = nil
      ready = Queue.new
      log = Queue.new
      thread = Thread.new { fiber = spin { ready << true; suspend }; fiber.await }
      ready.pop
      fiber.interject { log << Thread.current }
      expect(log.pop).to equal thread
      fiber.schedule
      thread.join
    end

    it "refuses a fiber that has ended or was never spun" do
      expect { spin { nil }.tap(&:await).interject { nil } }.to raise_error FiberError
      expect { Fiber.new { nil }.interject { nil } }.to raise_error FiberError
      expect { Fiber.current.interject }.to raise_error ArgumentError
    end
  end
end
