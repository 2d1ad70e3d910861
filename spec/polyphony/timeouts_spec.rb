# frozen_string_literal: true

require "timeout"

RSpec.describe Polyphony::Timeouts do
  def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  # Holds the thread for so many seconds.
  def hold_up(seconds)
    over = clock + seconds
    nil while clock < over
    true
  end

  describe "#move_on_after" do
    everywhere do
      it "leaves the block when the time is up, with the value" do
        expect(move_on_after(0.005, with_value: :late) { sleep }).to eq :late
        expect(move_on_after(0.005) { sleep }).to be_nil
      end

      it "returns the block's value where it is in time" do
        expect(move_on_after(60, with_value: :late) { snooze; :in_time }).to eq :in_time
      end

      it "nests: the shorter one fires, and each gives its own value" do
        inner = move_on_after(60, with_value: :outer) { [move_on_after(0.002, with_value: :inner) { sleep }] }
        outer = move_on_after(0.002, with_value: :outer) { [move_on_after(60, with_value: :inner) { sleep }] }
        expect([inner, outer]).to eq [[:inner], :outer]
      end
    end

    # However long the machine pauses: a time that nobody has started anew is up before the loop is over.
    it "yields a canceller whose reset starts the time anew" do
      lasted = Array.new(50).any? do
        began = clock
        move_on_after(0.004, with_value: false) do |timeout|
          while clock < began + 0.008 do sleep 0.001; timeout.reset end
          true
        end
      end
      expect(lasted).to be true
      expect(move_on_after(0.001, with_value: :late) { |timeout| timeout.reset; sleep }).to eq :late
    end

    it "does not swallow a stop from outside" do
      fiber = spin { move_on_after(60) { |_| suspend }; :went_on }
      snooze
      fiber.stop(:stopped)
      expect(fiber.await).to eq :stopped
    end

    it "fires although the time was up before the block first waited" do
      expect(move_on_after(0, with_value: :late) { sleep }).to eq :late
    end

    # Where one of them was taken back before it was raised, those behind it never were.
    it "fires those further out, too, where all were over at once" do
      left = false
      spin do
        move_on_after(0.003) do
          move_on_after(0.001) do
            move_on_after(0.002) { hold_up(0.01) && sleep }
          end
          left = true
          sleep
        end
      end.await
      expect(left).to be true
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

  def replace_raise(with)
    Polyphony::Overdue.class_eval do
      former = remove_const(:RAISE)
      const_set(:RAISE, with)
      private_constant :RAISE
      former
    end
  end

  # A timeout was heard in the block behind its own, or in another fiber.
  it "are raised in their own block, though who raises one loses its turn in the middle of that" do
    begun = ended = false
    slow = Object.new
    real = replace_raise(slow)
    slow.define_singleton_method(:bind_call) do |thread, marker|
      begun = true
      100.times { Thread.pass }
      real.bind_call(thread, marker)
      ended = true
    end
    block = proc do
      Thread.pass until begun
      snooze
    end
    expect { Timeout.timeout(0.001, &block) }.to raise_error(Timeout::Error)
    expect { Thread.pass until ended }.not_to raise_error
  ensure
    replace_raise(real)
  end

  # Items and bytes were lost on busy machines: the timeout was raised behind the wait that had brought them.
  it "leave a fiber what its wait has brought, where its thread is kept from running right then" do
    looks = 0
    counted = Module.new { define_method(:interrupt) { |may_end| super(may_end).tap { looks += 1 } } }
    Polyphony::Overdue.singleton_class.prepend(counted)
    begun = stop = false
    busy = Thread.new { begun = true until stop }
    Thread.pass until begun
    queue = Queue.new << :item
    got = nil
    Timeout.timeout(0.05) do
      taken = queue.pop
      looks = 0
      Thread.pass until looks > 3 # each pass lets the other thread have a time slice
      got = taken
    end
    expect(got).to eq :item
  ensure
    counted.remove_method(:interrupt)
    stop = true
    busy.join
  end

  # There was a NoMethodError where two threads had their first timeouts at once.
  it "are armed while another thread arms the first" do
    expect(Child.ruby!(<<~RUBY)).to eq "fine"
      begun, goes_on = Queue.new, Queue.new
      other = Thread.new do
        Thread.current.setup
        begun.pop
        Timeout.timeout(1) { "fine" }
      ensure
        goes_on << true
      end
      Thread.singleton_class.prepend(Module.new { define_method(:new) { |*all, &block| super(*all, &block).tap { begun << true; goes_on.pop } } })
      snooze
      Timeout.timeout(2) { nil }
      print other.value
    RUBY
  end
end
