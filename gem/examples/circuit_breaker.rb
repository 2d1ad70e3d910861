# frozen_string_literal: true

# A circuit breaker: after some failures a service is left alone for a while, then tried once.
#
#     ruby circuit_breaker.rb
require "polyphony"

class CircuitBreaker
  Open = Class.new(StandardError)

  attr_reader :state

  def initialize(failures:, rest:)
    @limit = failures
    @rest = rest
    close
  end

  def call
    raise Open, "left alone" if @state == :open

    yield.tap { close }
  rescue Open
    raise
  rescue StandardError
    open if (@failures += 1) >= @limit || @state == :half_open
    raise
  end

  # Waits until the service may be tried again.
  def wait = @resting&.await

  private

  def close
    @failures = 0
    @state = :closed
  end

  def open
    @state = :open
    @resting = after(@rest) { @state = :half_open }
  end
end

breaker = CircuitBreaker.new(failures: 2, rest: 0.05)
healthy = false
request = lambda do
  breaker.call { healthy ? "fine" : raise(IOError, "no answer") }
rescue IOError, CircuitBreaker::Open => e
  e.message
end

3.times { puts "#{request.call} (#{breaker.state})" }
breaker.wait
puts "#{request.call} (#{breaker.state})"
breaker.wait
healthy = true
puts "#{request.call} (#{breaker.state})"
