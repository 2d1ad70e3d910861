# frozen_string_literal: true

# Scopes within scopes: each waits for its own fibers, and what fails in one ends what was begun there.
#
#     ruby nested_scopes.rb
require "polyphony"

def house
  spin_scope do
    spin { build("walls", 2) }
    spin do
      spin_scope do
        spin { build("windows", 4) }
        spin { build("roof", 6) }
      end
      puts "closed"
    end
  end
  puts "built"
end

def build(part, turns, fails: false)
  turns.times { snooze }
  raise "no more #{part}" if fails

  puts part
  part
rescue Polyphony::Terminate
  puts "#{part} left undone"
end

house
begin
  spin_scope do
    spin { build("garden", 100) }
    spin { build("bricks", 3, fails: true) }
  end
rescue => e
  puts "failed: #{e.message}"
end
puts "alive: #{Fiber.current.children.size}"
