# frozen_string_literal: true

# Clean-up that is not to be cut short by whoever is impatient, but may not take for ever either.
#
#     ruby shield.rb
require "polyphony"

def connection(name, &goodbye)
  spin(name) do
    sleep
  ensure
    Polyphony.shield do
      goodbye.call
      puts "#{name} said goodbye"
    end
  end
end

polite = connection("polite") { 5.times { snooze } }
endless = connection("endless") { sleep }
snooze # both begin

[polite, endless].each { |fiber| fiber.terminate(graceful: true, grace: 0.1) }
snooze # both say goodbye
polite.stop # too impatient: it is heard when the shield is over
Fiber.await(polite, endless)
puts "all ended: #{[polite, endless].all?(&:dead?)}"
