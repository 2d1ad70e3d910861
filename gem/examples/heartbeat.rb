# frozen_string_literal: true

# Heartbeats: whoever is silent for too long is taken for dead.
#
#     ruby heartbeat.rb
require "polyphony"

BEAT = 0.01
PATIENCE = 0.5

# Sends so many beats, then falls silent without a goodbye.
def patient(monitor, beats)
  spin do
    beats.times { monitor << :beat; sleep BEAT }
    sleep
  end
end

# Counts beats, until they stay away.
def monitor(name)
  spin(name) do
    beats = 0
    move_on_after(PATIENCE) do |timer|
      receive_loop { beats += 1; timer.reset }
    end
    "#{name} was silent after #{beats} beats"
  end
end

monitors = { ann: 3, bob: 7 }.map { |name, beats| monitor(name).tap { |fiber| patient(fiber, beats) } }
puts Fiber.await(*monitors)
