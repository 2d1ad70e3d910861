# frozen_string_literal: true

# Work in one fiber, a progress bar in another; the bar is on standard error, the result on standard output.
#
#     ruby progress_bar.rb
require "polyphony"

class ProgressBar
  WIDTH = 40

  def initialize(total)
    @total = total
    @done = 0
    @fiber = spin(:bar) { every(0.02) { draw } }
  end

  def advance = @done += 1

  def finish
    @fiber.stop.await
    draw
    $stderr.puts
  end

  private

  def draw
    filled = WIDTH * @done / @total
    $stderr.print "\r[#{'=' * filled}#{' ' * (WIDTH - filled)}] #{100 * @done / @total} %"
  end
end

numbers = (1..50).to_a
bar = ProgressBar.new(numbers.size)
sum = numbers.sum do |number|
  sleep 0.004 # the work
  bar.advance
  number
end
bar.finish
puts "the sum is #{sum}"
