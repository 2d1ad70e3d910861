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

  it "counts what it did" do
    expect(backend.stats).to include(:runqueue_size, :runqueue_length, :op_count, :switch_count, :poll_count, :pending_ops)
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
    it "hears of a switch" do
      expect(traced { snooze }.map(&:first)).to eq %i[schedule block unblock]
    end

    it "hears of a fiber's life" do
      fiber = nil
      events = traced { fiber = spin { sleep 0.001; :bye }; fiber.await }
      own = events.select { |event| event[1].equal?(fiber) }
      expect(own.map(&:first).uniq).to eq %i[spin schedule block enter_poll leave_poll unblock terminate]
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

    it "passes on events of one's own" do
      expect(traced { backend.trace(:mine, 1) }).to eq [[:mine, 1]]
    end
  end

  it "feeds a firehose" do
    require "polyphony/core/debug"
    events = []
    Polyphony::Trace.start_event_firehose { |event| events << event }
    fiber = spin { nil }
    fiber.await
    backend.trace_proc = nil
    expect(events.map { |event| event[:event] }).to start_with(:spin, :schedule)
    expect(events.first).to include(:stamp, :caller, fiber: fiber, source_fiber: Fiber.current)
    expect { Polyphony::Trace.start_event_firehose }.to raise_error ArgumentError
  ensure
    backend.trace_proc = nil
  end
end
