# frozen_string_literal: true

# A fiber is made, runs an empty block and is waited for; the reference makes and resumes a bare one.
#
# usage: spin_await.rb ours|reference
require_relative "measure"

count = 50_000
case ARGV[0]
when "ours"
  require "polyphony"
  Measure.per_unit(count) { count.times { spin {}.await } }
when "reference"
  Measure.per_unit(count) { count.times { Fiber.new {}.resume } }
end
