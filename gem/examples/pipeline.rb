# frozen_string_literal: true

# A pipeline: each stage is a fiber between two queues. Closing the first queue ends one stage after the other.
#
#     ruby pipeline.rb
require "polyphony"

# Runs the block for what comes in; what it returns goes on, unless it is nil.
def stage(input, &block)
  SizedQueue.new(4).tap do |output|
    spin do
      while (item = input.shift)
        result = block.call(item)
        output << result if result
      end
      output.close
    end
  end
end

numbers = SizedQueue.new(4)
squares = stage(numbers) { |number| number * number }
odd = stage(squares) { |number| number if number.odd? }
texts = stage(odd) { |number| "<#{number}>" }

spin do
  1.upto(20) { |number| numbers << number }
  numbers.close
end

out = []
while (text = texts.shift)
  out << text
end
puts out.join(" ")
