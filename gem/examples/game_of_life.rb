# frozen_string_literal: true

# Conway's game of life: every cell is a fiber. One `snooze` and everybody has looked; another, and all have changed.
#
#     ruby game_of_life.rb [GENERATIONS]
require "polyphony"

START = <<~WORLD.lines(chomp: true)
  .#......
  ..#.....
  ###.....
  ........
  ........
  ........
WORLD
HEIGHT = START.size
WIDTH = START.first.size
NEIGHBOURS = [-1, 0, 1].product([-1, 0, 1]) - [[0, 0]]

generations = Integer(ARGV.fetch(0, 8))
world = START.map { |row| row.chars.map { |cell| cell == "#" } }

cells = HEIGHT.times.to_a.product(WIDTH.times.to_a).map do |y, x|
  spin do
    generations.times do
      around = NEIGHBOURS.count { |down, right| world[(y + down) % HEIGHT][(x + right) % WIDTH] }
      snooze # until every cell has counted
      world[y][x] = around == 3 || (around == 2 && world[y][x])
      snooze # until every cell has changed
    end
  end
end
Fiber.await(*cells)

world.each { |row| puts row.map { |alive| alive ? "#" : "." }.join }
