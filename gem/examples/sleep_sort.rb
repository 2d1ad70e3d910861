# frozen_string_literal: true

# Sorts by sleeping: each number waits as many turns as it is large.
#
#     ruby sleep_sort.rb NUMBER...
require "polyphony"

sorted = []
spin_scope do
  ARGV.map { |text| Integer(text) }.each do |number|
    spin do
      number.times { snooze }
      sorted << number
    end
  end
end
puts sorted.join(" ")
