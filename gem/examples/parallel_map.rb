# frozen_string_literal: true

# A map that runs its block in a pool of threads and keeps the order.
#
#     ruby parallel_map.rb
require "polyphony"

module Enumerable
  # Like `map`; an error in one block is raised, and the other results are not waited for.
  def parallel_map(pool: Polyphony::ThreadPool, &block)
    Fiber.await(*map { |element| spin { pool.process { block.call(element) } } })
  end
end

def fibonacci(number) = number < 2 ? number : fibonacci(number - 1) + fibonacci(number - 2)

puts (10..20).parallel_map { |number| fibonacci(number) }.join(" ")

begin
  [4, 2, 0].parallel_map { |number| 8 / number }
rescue ZeroDivisionError => e
  puts "no result: #{e.message}"
end
