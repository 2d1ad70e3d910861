# frozen_string_literal: true

# Stock Ruby with the words of fibers, so that spec/shared can be run on it: what is spun is a thread.
abort "this is to be stock Ruby" if defined?(Polyphony)

require "timeout"
require_relative "../support/descriptors"
require_relative "../support/behaviours"
require_relative "../support/child"

# Seconds for one example.
LIMIT = 10

module StockWords
  # As many turns as others may want until they wait for something.
  TURNS = 200

  def spin(&block) = Thread.new(&block).tap { |thread| thread.report_on_exception = false }

  def snooze
    TURNS.times do
      break if (Thread.list - [Thread.current]).all?(&:stop?)

      sleep 0.0005
    end
  end

  def suspend = sleep

  def random = @random ||= Random.new(RSpec.configuration.seed)
end

class Thread
  alias await value
  alias stop kill

  def state = stop? ? :waiting : :running
end

def Fiber.await(*threads) = threads.map(&:value)

RSpec.configure do |config|
  config.filter_run_excluding :ours
  config.filter_run_excluding :since_ruby_3_2 if RUBY_VERSION < "3.2"
  config.include Descriptors
  config.include Streams
  config.include Child
  config.include StockWords
  config.extend Behaviours
  config.around { |example| Timeout.timeout(LIMIT) { example.run } }
  config.after do
    (Thread.list - [Thread.current]).each { |thread| thread.kill unless thread == Timeout.instance_variable_get(:@timeout_thread) }
    close_descriptors
    remove_files
  end
end

Dir[File.join(__dir__, "../shared/*.rb")].each { |file| require file }
