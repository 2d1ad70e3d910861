# frozen_string_literal: true

# A state machine driven by events: a door with a lock, and an alarm when it stands open for too long.
#
#     ruby state_machine.rb
#
# Each state is a method that waits for what can happen there, and returns the next state.
require "polyphony"

class Door
  PATIENCE = 0.1

  attr_reader :history

  def initialize
    @history = []
    @events = Queue.new
    @fiber = spin(:door) { run(:closed) }
  end

  def <<(event)
    @events << event
    self
  end

  def wait = @fiber.await

  private

  def run(state)
    until state == :gone
      @history << state
      state = send(state)
    end
  end

  def closed = on(open: :opened, lock: :locked, remove: :gone)

  def locked = on(unlock: :closed)

  def opened = move_on_after(PATIENCE, with_value: :alarm) { on(close: :closed) }

  def alarm = on(close: :closed)

  # Waits for an event that means something in this state; others are passed over.
  def on(transitions)
    loop do
      state = transitions[@events.shift]
      return state if state
    end
  end
end

door = Door.new
door << :lock << :open << :unlock << :open << :close << :open
snooze until door.history.last == :alarm
door << :close << :remove
door.wait
puts door.history.join(" -> ")
