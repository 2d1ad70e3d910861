# frozen_string_literal: true

RSpec.describe Exception do
  def failing = raise(IOError, "failed")

  def caught
    yield
  rescue IOError => e
    e
  end

  def lines(error) = error.backtrace.map { |line| line[/(?<=:)\d+/].to_i }.first(3)

  describe "#backtrace" do
    it "goes on where the fiber was spun, and the fibers above it" do
      inner = outer = nil
      error = caught do
        outer = __LINE__ + 1
        spin do
          inner = __LINE__ + 1
          spin { failing }.await
        end.await
      end
      expect(error.backtrace.first).to match(/in [`'].*failing/)
      expect(lines(error).drop(1) + [error.backtrace[3][/:(\d+)/, 1].to_i]).to eq [inner, inner, outer]
    end

    it "comes from the fiber that it is said to come from" do
      fiber = spin { nil }
      fiber.await
      error = caught { failing }
      error.source_fiber = fiber
      expect([error.source_fiber, error.raising_fiber, error.backtrace.last]).to eq [fiber, fiber, fiber.caller.last]
    end

    it "names none of the gem's own lines" do
      error = caught { spin { spin { failing }.await }.await }
      expect(error.backtrace.grep(%r{lib/polyphony/})).to be_empty
      expect(error.full_message).not_to include "lib/polyphony/"
    end

    it "is the same in the fiber that rescues" do
      error = spin { caught { failing } }.await rescue $! # rubocop:disable Style/RescueModifier
      expect(error.backtrace.grep(%r{lib/polyphony/})).to be_empty
    end

    it "can be had as Ruby makes it" do
      Exception.__disable_sanitized_backtrace__ = true
      expect(caught { spin { failing }.await }.backtrace.grep(%r{lib/polyphony/})).not_to be_empty
    ensure
      Exception.__disable_sanitized_backtrace__ = nil
    end

    it "is stock Ruby's where no fiber ended" do
      error = caught { failing }
      expect(error.backtrace.size).to eq error.backtrace_locations.size
      expect([IOError.new.backtrace, error.tap { |e| e.set_backtrace(["line"]) }.backtrace]).to eq [nil, ["line"]]
    end

    it "tells the caller's line of a command that failed in the main fiber" do
      error = begin
        system("exit 1", exception: true)
      rescue RuntimeError => e
        e
      end
      expect(error.backtrace.first).to start_with __FILE__
    end

    it "keeps what a thread's error tells" do
      error = caught { Thread.new { Thread.current.report_on_exception = false; failing }.join }
      expect(error.backtrace.first).to match(/failing/)
    end
  end

  it "can be dumped when it has ended a fiber" do
    error = caught { spin { failing }.await }
    again = Marshal.load(Marshal.dump(error))
    expect([again.message, again.backtrace, again.source_fiber]).to eq ["failed", error.backtrace, nil]
  end

  it "knows the fiber that it ended" do
    fiber = spin { failing }
    error = caught { fiber.await }
    expect([error.source_fiber, error.raising_fiber, IOError.new.source_fiber]).to eq [fiber, fiber, nil]
  end

  it "is made of what people give for one" do
    error = IOError.new("itself")
    made = [["text"], [[KeyError, "why"]], [KeyError, "why"], [KeyError], [error], []].map { |given| Exception.instantiate(*given) }
    expect(made.map { |e| [e.class, e.message] }).to eq [
      [RuntimeError, "text"], [KeyError, "why"], [KeyError, "why"], [KeyError, "KeyError"], [IOError, "itself"], [RuntimeError, "RuntimeError"]
    ]
    expect(made[4]).to equal error
    expect { error.invoke }.to raise_error(error)
  end

  it "can be told which fiber it ended" do
    fiber = spin { nil }
    error = IOError.new("mine")
    error.source_fiber = fiber
    expect([error.source_fiber, error.raising_fiber]).to eq [fiber, fiber]
    error.raising_fiber = nil
    expect(error.source_fiber).to be_nil
    fiber.await
  end
end
