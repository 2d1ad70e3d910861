# frozen_string_literal: true

# A token bucket: bursts up to its size, then no faster than it is filled.
#
#     ruby rate_limiter.rb
require "polyphony"

class TokenBucket
  # @param size how many may come at once
  # @param rate how many a second in the long run
  def initialize(size:, rate:)
    @tokens = SizedQueue.new(size)
    size.times { @tokens << true }
    @filler = spin { throttled_loop(rate) { @tokens << true unless @tokens.size == @tokens.max } }
  end

  # Waits for a token.
  def take = @tokens.shift

  # Whether there was one, without waiting.
  def take?
    @tokens.shift(true)
  rescue ThreadError
    false
  end

  def stop = @filler.stop.await
end

bucket = TokenBucket.new(size: 5, rate: 50)
puts "at once: #{Array.new(8) { bucket.take? }.count(true)}"

started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
10.times { bucket.take }
seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
puts "ten more took their time: #{seconds >= 0.15}"
bucket.stop
