# frozen_string_literal: true

# A barrier: nobody goes on to the next round before all have finished this one.
#
#     ruby barrier.rb
require "polyphony"

class Barrier
  def initialize(size)
    @size = size
    @arrived = 0
    @round = 0
    @lock = Mutex.new
    @all_there = ConditionVariable.new
  end

  def wait
    @lock.synchronize do
      round = @round
      if (@arrived += 1) == @size
        @arrived = 0
        @round += 1
        @all_there.broadcast
      else
        @all_there.wait(@lock) while round == @round
      end
    end
  end
end

barrier = Barrier.new(3)
log = []
runners = [1, 5, 3].map do |turns|
  spin do
    3.times do |round|
      turns.times { snooze }
      log << round
      barrier.wait
    end
  end
end
Fiber.await(*runners)
puts log.join(" ")
