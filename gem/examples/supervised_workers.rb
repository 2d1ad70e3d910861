# frozen_string_literal: true

# Workers that fail now and then, and a supervisor that starts them again.
#
#     ruby supervised_workers.rb
require "polyphony"

jobs = Queue.new
done = []
worker = lambda do
  loop do
    job = jobs.shift
    raise "job #{job} is too odd" if job == 3

    done << job
  end
end

supervisor = spin(:supervisor) do
  2.times { |i| spin(:"worker #{i}", &worker) }
  supervise(restart: :on_error, on_error: ->(fiber, error) { puts "#{fiber.tag}: #{error.message}" })
end

1.upto(6) { |job| jobs << job }
snooze until done.size == 5

puts "done: #{done.sort.join(' ')}"
puts "alive: #{supervisor.children.map(&:tag).sort.join(', ')}"
supervisor.stop.await
