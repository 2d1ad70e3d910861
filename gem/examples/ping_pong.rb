# frozen_string_literal: true

# Two fibers send each other messages, and so do two threads.
#
#     ruby ping_pong.rb [ROUNDS]
require "polyphony"

rounds = Integer(ARGV.fetch(0, 1000))

def answer_pings = receive_loop { |sender, number| sender << number + 1 }

# Sends a number there and back again, so often.
def ping(partner, rounds)
  rounds.times.inject(0) do |number, _|
    partner << [Fiber.current, number]
    receive
  end
end

pong = spin(:pong) { answer_pings }
puts "fibers: #{ping(pong, rounds)}"
pong.stop

ready = Queue.new
thread = Thread.new do
  ready << Fiber.current
  answer_pings
end
puts "threads: #{ping(ready.shift, rounds)}"
thread.kill
thread.join
