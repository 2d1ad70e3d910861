# frozen_string_literal: true

# A cache of slow lookups, names for instance: who asks for what is being looked up waits for that, and answers
# grow old.
#
#     ruby lookup_cache.rb
require "polyphony"

class LookupCache
  Entry = Struct.new(:fiber, :expires)

  # @param clock [#call] tells the time in seconds
  def initialize(seconds, clock: -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }, &lookup)
    @seconds = seconds
    @clock = clock
    @lookup = lookup
    @entries = {}
  end

  def [](name)
    entry = @entries[name]
    entry = @entries[name] = begin_lookup(name) if entry.nil? || entry.expires < @clock.call
    entry.fiber.await
  rescue StandardError
    @entries.delete(name) # a failure is not remembered
    raise
  end

  private

  # The lookup belongs to the cache, not to whoever asked first.
  def begin_lookup(name)
    fiber = Thread.main.main_fiber.spin(name) { @lookup.call(name) }
    Entry.new(fiber, @clock.call + @seconds)
  end
end

# An hour passes when this program says so.
now = 0
lookups = Hash.new(0)
cache = LookupCache.new(60, clock: -> { now }) do |name|
  lookups[name] += 1
  sleep 0.01
  name.sum % 256
end

askers = 10.times.map { |i| spin { cache[i.even? ? "one.test" : "two.test"] } }
puts Fiber.await(*askers).uniq.join(" ")
puts "lookups: #{lookups.values.join(' ')}"
now += 3600
cache["one.test"]
puts "later: #{lookups.values.join(' ')}"
