# frozen_string_literal: true

# Producers and consumers around a buffer of three places: who is too fast waits.
#
#     ruby bounded_buffer.rb
require "polyphony"

buffer = SizedQueue.new(3)
fullest = 0
eaten = Hash.new(0)

producers = 2.times.map do |i|
  spin do
    10.times do |j|
      buffer << (i * 10) + j
      fullest = [fullest, buffer.size].max
    end
  end
end
consumers = 3.times.map do
  spin do
    while (item = buffer.shift)
      eaten[item] += 1
      snooze # consumers are slower
    end
  end
end

Fiber.await(*producers)
buffer.close
Fiber.await(*consumers)
puts "eaten: #{eaten.size}, each once: #{eaten.values.all?(1)}, at most #{fullest} at once"
