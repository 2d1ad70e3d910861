# frozen_string_literal: true

# A broadcast in which a slow listener keeps nobody waiting: each has a queue of bounded length, and what does not
# fit pushes out the oldest.
#
#     ruby broadcast.rb
require "polyphony"

class Listener
  attr_reader :lost

  def initialize(room)
    @room = room
    @messages = Queue.new
    @lost = 0
  end

  # Never waits.
  def <<(message)
    if @messages.size == @room
      @messages.shift(true)
      @lost += 1
    end
    @messages << message
  end

  def close = @messages.close

  def next = @messages.shift
end

fast = Listener.new(4)
slow = Listener.new(4)
listeners = [fast, slow]

heard = listeners.map do |listener|
  spin do
    all = []
    while (message = listener.next)
      all << message
      10.times { snooze } if listener == slow
    end
    all
  end
end

1.upto(12) do |number|
  listeners.each { |listener| listener << number }
  2.times { snooze }
end
listeners.each(&:close)

everything, a_part = Fiber.await(*heard)
puts "fast heard #{everything.size}, lost #{fast.lost}"
puts "slow heard #{a_part.size} and lost #{slow.lost}: #{a_part.size + slow.lost} in all"
puts "the slow one's last is the newest: #{a_part.last == 12}"
