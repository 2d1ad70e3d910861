# frozen_string_literal: true

# A sieve of fibers: each keeps a prime and passes on what it does not divide.
#
#     ruby prime_sieve.rb [HOW MANY]
require "polyphony"

def sieve(prime, found)
  following = nil
  receive_loop do |number|
    next if (number % prime).zero?

    if following
      following << number
    else
      found << number
      following = spin { sieve(number, found) }
    end
  end
end

count = Integer(ARGV.fetch(0, 20))
found = Queue.new
found << 2
first = spin { sieve(2, found) }
numbers = spin { 3.step { |number| first << number; snooze } }

puts Array.new(count) { found.shift }.join(" ")
numbers.stop
first.stop.await # and with it all that follow
