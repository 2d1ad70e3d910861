# frozen_string_literal: true

RSpec.describe Polyphony::Backend do
  let(:backend) { Thread.current.backend }

  # What the tracer hears while the block runs.
  def traced
    events = []
    backend.trace_proc = ->(*event) { events << event }
    yield
    events
  ensure
    backend.trace_proc = nil
  end

  it "is the thread's scheduler, by another name" do
    expect([backend.class, described_class.new, Thread.backend, backend.kind]).to match [described_class, backend, backend, /io_uring|epoll/]
    expect(Thread.current.backend = backend).to equal backend
  end

  it "sleeps, times out, repeats and waits" do
    expect(Polyphony.backend_sleep(0.001)).to be_nil
    expect(Polyphony.backend_timeout(0.001, nil, :value) { sleep }).to eq :value
    expect { Polyphony.backend_timeout(0.001, IOError) { sleep } }.to raise_error IOError
    expect { Polyphony.backend_timeout(0.001, [IOError, "why"]) { sleep } }.to raise_error IOError, "why"
    expect { Polyphony.backend_timeout(0.001, IOError) { Polyphony.backend_timeout(5, KeyError) { sleep } } }.to raise_error IOError
    expect(Polyphony.backend_timer_loop(0.001) { break :broken }).to eq :broken
    pid = spawn("exit 2")
    expect(Polyphony.backend_waitpid(pid)).to eq [pid, 512]
  end

  it "waits for an event, and raises it or not" do
    fibers = [true, false].map { |raises| spin { backend.wait_event(raises) rescue :raised } } # rubocop:disable Style/RescueModifier
    snooze
    error = IOError.new
    fibers.each { |fiber| fiber.schedule(error) }
    expect(fibers.first.await).to eq :raised
    expect { fibers.last.await }.to raise_error(error)
  end

  it "looks around when it is polled" do
    order = []
    spin { order << :other }
    expect([backend.poll, backend.poll(true)]).to eq [backend, backend]
    expect(order).to eq [:other]
  end

  it "ends another thread's wait" do
    ready = Queue.new
    thread = Thread.new { ready << Thread.current.backend; sleep }
    other = ready.pop
    expect([backend.break, other.break]).to eq [nil, true]
    thread.kill
    thread.join
  end

  describe "#stats" do
    it "counts operations, switches and looks at the kernel since it was asked last" do
      backend.stats
      reader, writer = pipe
      fiber = spin { reader.readpartial(1) }
      snooze
      writer << "x"
      fiber.await
      first = backend.stats
      second = backend.stats
      expect(first.values_at(:op_count, :switch_count, :poll_count)).to all be_positive
      expect(second.values_at(:op_count, :switch_count, :poll_count)).to eq [0, 0, 0]
    end

    it "tells how many fibers are ready, and how many were at most" do
      fibers = Array.new(7) { spin { snooze } }
      expect(backend.stats[:runqueue_length]).to eq 7
      Fiber.await(*fibers)
      stats = backend.stats
      expect(stats[:runqueue_length]).to eq 0
      expect(stats.values_at(:runqueue_max_length, :runqueue_size)).to all be >= 7
      expect(backend.stats[:runqueue_max_length]).to be >= 7
    end

    it "tells how many operations are in flight" do
      reader, writer = pipe
      fibers = Array.new(2) { spin { reader.readpartial(1) } }
      before = backend.stats[:pending_ops]
      snooze
      expect(backend.stats[:pending_ops] - before).to eq 2
      writer << "xy"
      Fiber.await(*fibers)
      expect(backend.stats[:pending_ops]).to eq before
    end

    it "has nothing but numbers, each by the name that it had" do
      stats = backend.stats
      names = %i[runqueue_size runqueue_length runqueue_max_length op_count switch_count poll_count pending_ops]
      expect(stats.keys.first(7)).to eq names
      expect(stats.values).to all be_an Integer
    end
  end

  it "is left with nothing in flight when it is finalized, and goes on" do
    reader, = pipe
    fiber = spin { reader.readpartial(1) }
    snooze
    expect(backend.finalize).to equal backend
    expect([fiber.dead?, backend.stats[:pending_ops], spin { :after }.await]).to eq [true, 0, :after]
    expect(Thread.new { backend.finalize rescue $!.class }.value).to eq ThreadError
  end

  it "is the child's own after a fork, told or not" do
    sleeper = spin { sleep }
    snooze
    expect(Child.forked { [backend.post_fork.equal?(backend), backend.stats[:fibers], spin { :child }.await] }).to eq [true, 1, :child]
    sleeper.stop
    sleeper.await
  end

  describe "#idle_proc=" do
    it "is called once by each switch that finds nobody ready" do
      calls = 0
      Thread.current.on_idle { calls += 1 }
      2.times { sleep 0.001 }
      3.times { snooze }
      expect(calls).to eq 2
    ensure
      backend.idle_proc = nil
    end

    it "may schedule a fiber" do
      fiber = spin { suspend }
      snooze
      backend.idle_proc = -> { fiber.schedule(:idle) }
      expect(fiber.await).to eq :idle
    ensure
      backend.idle_proc = nil
    end

    it "raises in the main fiber what it raises" do
      backend.idle_proc = -> { raise IOError, "idle" }
      fiber = spin { sleep }
      expect { fiber.await }.to raise_error IOError, "idle"
      backend.idle_proc = nil
      fiber.stop
      fiber.await
    ensure
      backend.idle_proc = nil
    end
  end

  # The original turned the collector off, for the whole process.
  it "collects garbage when idle, and leaves the collector on" do
    Thread.current.idle_gc_period = 0.001
    before = GC.count
    4.times { sleep 0.002 }
    expect(GC.count).to be > before
    expect(GC.enable).to be false
  ensure
    Thread.current.idle_gc_period = nil
  end

  describe "#trace_proc=" do
    # Events as one reads them: fibers by their tags, callers left out. A wait in the kernel that Ruby ends
    # early, for its time slices, and that begins again, is one.
    def read(events)
      shapes = events.map do |event|
        shape = event.last.is_a?(Array) ? event[0..-2] : event
        shape.map { |part| part.is_a?(Fiber) ? part.tag : part }
      end
      shapes.each_with_object([]) do |shape, read|
        shape.first == :enter_poll && read.last == [:leave_poll, shape[1]] ? read.pop : read << shape
      end
    end

    it "hears of a switch" do
      expect(traced { snooze }.map(&:first)).to eq %i[schedule block unblock]
    end

    it "hears of a fiber's life" do
      fiber = nil
      events = traced { fiber = spin { sleep 0.001; :bye }; fiber.await }
      own = events.select { |event| event[1].equal?(fiber) }
      expect(own.map(&:first).uniq).to eq %i[spin schedule unblock block enter_poll leave_poll terminate]
      expect([own[1][2, 2], own.last[2], own[0][2].first]).to match [[nil, false], :bye, /#{__FILE__}/]
    end

    it "hears what somebody is scheduled with" do
      fiber = spin { suspend }
      snooze
      events = traced { fiber.schedule(:value); fiber.await }
      expect(events.select { |event| %i[schedule unblock].include?(event[0]) && event[1] == fiber }.map { |event| event[0, 3] })
        .to eq [[:schedule, fiber, :value], [:unblock, fiber, :value]]
    end

    # One that raised ended tracing for good.
    it "may raise, and hears the rest" do
      calls = 0
      backend.trace_proc = ->(*) { (calls += 1) == 1 ? raise(IOError, "tracer") : nil }
      expect { spin { nil }.await; snooze }.to raise_error IOError, "tracer"
      snooze
      expect(calls).to be > 3
    ensure
      backend.trace_proc = nil
    end

    it "hears of everything in its order where a fiber sleeps and ends" do
      events = read(traced { spin(:f) { sleep 0.001; :bye }.await })
      expect(events).to eq [
        [:spin, :f], [:schedule, :f, nil, false], [:block, :main], [:unblock, :f, nil], [:block, :f], [:enter_poll, :f],
        [:schedule, :f, nil, false], [:leave_poll, :f], [:unblock, :f, nil], [:terminate, :f, :bye],
        [:schedule, :main, nil, false], [:unblock, :main, nil]
      ]
    end

    it "hears that the completion of an operation makes a fiber ready" do
      reader, writer = pipe
      fiber = spin(:reader) { reader.readpartial(1) }
      2.times { snooze }
      events = read(traced { spin(:writer) { sleep 0.001; writer << "x" }; fiber.await })
      own = events.select { |event| event[1] == :reader }
      expect(own).to eq [[:schedule, :reader, nil, false], [:unblock, :reader, nil], [:terminate, :reader, "x"]]
    end

    it "hears of a push that ends a wait, where it is made" do
      queue = Thread::Queue.new
      fiber = spin(:popper) { queue.shift }
      2.times { snooze }
      events = traced { queue << :item; fiber.await }
      expect(read(events).first(2)).to eq [[:schedule, :popper, nil, false], [:block, :main]]
      expect(events[0].last.first).to start_with __FILE__
    end

    it "hears with which exception a timeout ends a wait" do
      events = read(traced { move_on_after(0.001) { sleep } })
      expect(events.map(&:first)).to eq %i[block enter_poll schedule leave_poll unblock]
      expect(events[2][2]).to be_a Polyphony::TimeoutException
      expect(events[4][2]).to equal events[2][2]
    end

    it "hears of what another thread schedules, in its own" do
      fiber = spin(:f) { suspend }
      snooze
      threads = []
      main = Thread.current
      events = []
      backend.trace_proc = ->(*event) { threads << Thread.current; events << event }
      Thread.new { fiber.schedule(:from_there) }.join
      fiber.await
      backend.trace_proc = nil
      expect(read(events)).to include [:schedule, :f, :from_there, false], [:unblock, :f, :from_there]
      expect(threads.uniq).to eq [main]
    ensure
      backend.trace_proc = nil
    end

    it "hears that something is scheduled before others, and of an error that ends a fiber" do
      parent = spin(:parent) { spin(:child) { raise IOError, "child" }; suspend }
      events = read(traced { parent.await rescue :failed }) # rubocop:disable Style/RescueModifier
      ended = events.index { |event| event.first(2) == %i[terminate child] }
      expect(events[ended][2]).to be_an IOError
      expect(events[ended + 1]).to eq [:schedule, :parent, events[ended][2], true]
      expect(events.count { |event| event.first == :terminate }).to eq 2
    end

    it "is not called for what it does itself" do
      queue = Thread::Queue.new
      listener = spin(:listener) { queue.shift }
      2.times { snooze }
      events = []
      backend.trace_proc = lambda do |*event|
        events << event.first(2)
        queue << :heard if events.size == 1
      end
      snooze
      backend.trace_proc = nil
      expect(events).not_to include [:schedule, listener]
      expect(listener.await).to eq :heard
    ensure
      backend.trace_proc = nil
    end

    it "hears of everybody who is made ready at once, also where it schedules somebody itself" do
      queue = Thread::Queue.new
      poppers = Array.new(3) { |number| spin(number) { queue.shift } }
      other = spin(:other) { suspend }
      2.times { snooze }
      scheduled = []
      backend.trace_proc = lambda do |event, fiber, *|
        next unless event == :schedule

        scheduled << fiber.tag
        other.schedule if scheduled.size == 1
      end
      queue.close
      Fiber.await(*poppers, other)
      backend.trace_proc = nil
      expect(scheduled).to start_with 0, 1, 2
      expect(scheduled).not_to include :other
    ensure
      backend.trace_proc = nil
    end

    it "may raise at each event, and hears of them all" do
      heard = []
      backend.trace_proc = lambda do |*event|
        heard << event.first
        raise IOError, "tracer"
      end
      4.times { snooze rescue :raised } # rubocop:disable Style/RescueModifier
      backend.trace_proc = nil
      expect(heard.count(:block)).to eq 4
    ensure
      backend.trace_proc = nil
      2.times { snooze rescue :left } # rubocop:disable Style/RescueModifier
    end

    # The main fiber heard of it at each attempt to wait for its children, which had no turn.
    it "may always raise, and keeps nobody from ending" do
      2.times { spin { sleep } }
      snooze
      backend.trace_proc = ->(*) { raise IOError, "tracer" }
      expect { Fiber.current.shutdown_all_children }.to raise_error IOError, "tracer"
      expect(Fiber.current.children).to eq []
    ensure
      backend.trace_proc = nil
      snooze rescue nil # what it raised last
    end

    it "is something to call, as the other hooks are" do
      expect { backend.trace_proc = 3 }.to raise_error TypeError, "trace_proc is something to call or nil, not Integer"
      expect { backend.idle_proc = :idle }.to raise_error TypeError, "idle_proc is something to call or nil, not Symbol"
      expect { backend.idle_gc_period = [] }.to raise_error TypeError
      expect { backend.idle_gc_period = "soon" }.to raise_error ArgumentError
      expect(traced { snooze }.size).to eq 3
    end

    it "passes on events of one's own" do
      expect(traced { backend.trace(:mine, 1) }).to eq [[:mine, 1]]
    end
  end
end
