# frozen_string_literal: true

# Five philosophers, five forks. Everybody takes the lower fork first, so nobody starves.
#
#     ruby dining_philosophers.rb
require "polyphony"

MEALS = 3
forks = Array.new(5) { Mutex.new }
names = %w[Aristotle Kant Spinoza Marx Russell]

philosophers = names.each_with_index.map do |name, seat|
  lower, higher = [seat, (seat + 1) % forks.size].sort
  spin(name) do
    MEALS.times do
      snooze # thinks
      forks[lower].synchronize do
        snooze # reaches for the other one
        forks[higher].synchronize { snooze } # eats
      end
    end
    "#{name} ate #{MEALS} times"
  end
end

puts Fiber.await(*philosophers)
puts "forks on the table: #{forks.count { |fork| !fork.locked? }}"
