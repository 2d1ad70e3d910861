# frozen_string_literal: true

require "logger"
require "timeout"

RSpec.describe Logger do
  # A device that the first write waits in, until it is ended.
  let(:stuck) do
    Class.new do
      attr_reader :written

      def write(text)
        @written ? @written << text : (@written = []; sleep)
      end

      def close = nil
    end.new
  end

  it "lets through what ends a fiber in the middle of a line, and serves the next" do
    logger = Logger.new(stuck)
    went_on = false
    fiber = spin { logger.info("lost"); went_on = true }
    snooze until stuck.written
    fiber.stop
    fiber.await
    logger.info("kept")
    expect([went_on, stuck.written.size]).to eq [false, 1]
  end

  it "lets through what ends a block" do
    logger = Logger.new(stuck)
    expect(move_on_after(0.01, with_value: :late) { logger.info("lost") }).to eq :late
  end

  it "lets Timeout through" do
    logger = Logger.new(stuck)
    expect { Timeout.timeout(0.01) { logger.info("lost") } }.to raise_error(Timeout::Error)
  end

  it "complains of its device's own errors, and goes on" do
    broken = Object.new
    def broken.write(_) = raise(IOError, "no more room")
    def broken.close = nil
    expect { expect(Logger.new(broken).info("lost")).to be true }.to output(/log writing failed. no more room/).to_stderr
  end

  it "does so whenever it was loaded" do
    body = <<~'RUBY'
      reader, writer = IO.pipe
      writer.write_nonblock("x" * 65_536)
      logger = Logger.new(writer)
      p move_on_after(0.01, with_value: :late) { logger.info("lost") }
    RUBY
    expect(Child.ruby!("Polyphony.scheduler!; spin { nil }.await; require 'logger'; #{body}")).to eq ":late\n"
    expect(Child.ruby!("require 'logger'; require 'polyphony'; #{body}", loaded: nil, before: ["env", "RUBYLIB=#{Child::LIBRARY}"])).to eq ":late\n"
  end
end
