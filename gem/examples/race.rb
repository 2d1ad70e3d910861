# frozen_string_literal: true

# A race with every place: Fiber.select tells who is next, again and again, while the others run on.
#
#     ruby race.rb
require "polyphony"

STEPS = { hare: 4, tortoise: 9, fox: 6 }.freeze

runners = STEPS.map { |name, steps| spin(name) { steps.times { snooze }; "#{steps} steps" } }
place = 0
until runners.empty?
  runner, result = Fiber.select(*runners)
  runners.delete(runner)
  puts "#{place += 1}. #{runner.tag} after #{result}"
end
