# frozen_string_literal: true

RSpec.describe "Timeout.timeout" do
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

  # Nobody looks at timers meanwhile. So it is another thread that raises, as in stock Ruby.
  describe "around what never waits" do
    everywhere do
      {
        "a loop" => -> { loop { nil } }, "an empty loop" => -> { nil while true }, # rubocop:disable Lint/LiteralAsCondition
        "one in an Enumerator" => -> { Enumerator.new { |_| loop { nil } }.next }
      }.each do |name, work|
        it "ends #{name}" do
          expect { Timeout.timeout(0.002) { work.call } }.to raise_error Timeout::Error, "execution expired"
        end
      end

      it "ends each block by its own" do
        ended = begin
          Timeout.timeout(0.02) do
            Timeout.timeout(0.002, IOError) { loop { nil } }
          rescue IOError
            loop { nil }
          end
        rescue Timeout::Error => e
          e.class
        end
        expect(ended).to eq Timeout::Error
      end
    end

    def compute(seconds)
      enough = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds
      nil while Process.clock_gettime(Process::CLOCK_MONOTONIC) < enough
    end

    it "leaves those alone who compute in time, or while another's time is up" do
      late = spin { Timeout.timeout(0.001) { sleep } rescue $!.class }
      snooze
      Timeout.timeout(60) { compute(0.03) }
      compute(0.03)
      expect(late.await).to eq Timeout::Error
    end

    it "waits for a shield to end" do
      done = []
      ended = begin
        Timeout.timeout(0.001) { Polyphony.shield { compute(0.03); done << :shielded }; loop { nil } }
      rescue Timeout::Error => e
        e.class
      end
      expect([ended, done]).to eq [Timeout::Error, [:shielded]]
    end

    it "raises in no other fiber, and nowhere behind the block, also where the program masks exceptions" do
      20.times do
        heard = []
        other = spin { loop { compute(0.0005); snooze } rescue heard << $! }
        masked = spin do
          Thread.handle_interrupt(Exception => :never) do
            Timeout.timeout(0.001) { compute(0.012) }
            compute(0.001)
          end
          snooze
          compute(0.001)
        rescue Exception => e # rubocop:disable Lint/RescueException
          heard << e
        end
        masked.await
        compute(0.001)
        other.stop
        other.await
        expect(heard).to be_empty
      end
    end

    it "raises in its fiber where that waits with exceptions masked, and in no other" do
      fibers = Array.new(2) do
        spin do
          Thread.handle_interrupt(Exception => :never) { Timeout.timeout(0.001) { compute(0.012); sleep } }
        rescue Timeout::Error
          :late
        end
      end
      other = spin { 20.times { compute(0.002); snooze }; :undisturbed }
      expect([*fibers, other].map(&:await)).to eq %i[late late undisturbed]
    end

    it "is in force in the child of a fork" do
      Timeout.timeout(60) { nil }
      ended = Child.forked { Timeout.timeout(0.002) { loop { nil } } rescue $!.class }
      expect(ended).to eq Timeout::Error
    end
  end
end
