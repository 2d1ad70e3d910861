# frozen_string_literal: true

# Asks several servers the same, takes the first answer, and cancels the other questions.
#
#     ruby first_result.rb
require "polyphony"

# Stands for servers: the number is how many turns the answer takes.
SERVERS = { near: 2, far: 50, dead: nil }.freeze

def ask(server)
  turns = SERVERS[server] or sleep
  turns.times { snooze }
  "#{server} answers"
ensure
  puts "#{server} is through"
end

questions = SERVERS.keys.map { |server| spin(server) { ask(server) } }
winner, answer = Fiber.select(*questions)
puts "first: #{winner.tag}, #{answer.inspect}"

losers = questions - [winner]
losers.each(&:stop)
Fiber.await(*losers)
puts "alive: #{Fiber.current.children.size}"
