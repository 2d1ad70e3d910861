# frozen_string_literal: true

# Several commands at once, in every way that Ruby has, while a fiber counts.
#
#     ruby commands.rb
require "polyphony"
require "open3"

ticks = 0
ticker = spin { loop { ticks += 1; sleep 0.001 } }

results = Fiber.await(
  spin { `sleep 0.05; echo backticks` },
  spin { IO.popen(%w[tr a-z A-Z], "r+") { |io| io.puts "popen"; io.close_write; io.read } },
  spin { Open3.capture2("tr", "A-Z", "a-z", stdin_data: "OPEN3\n").first },
  spin { system("exit 3"); "system: #{$?.exitstatus}" },
  spin { "wait: #{Process.wait2(spawn("exit 4")).last.exitstatus}" },
  spin { "detach: #{Process.detach(spawn("exit 5")).await.exitstatus}" }
)
ticker.stop
puts results
puts "the counter went on: #{ticks > 1}"
