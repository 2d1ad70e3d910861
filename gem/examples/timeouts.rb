# frozen_string_literal: true

# Ways to say how long something may take.
#
#     ruby timeouts.rb
require "polyphony"
require "timeout"

silent, = IO.pipe

# A value in place of the block's.
puts move_on_after(0.01, with_value: "too late") { silent.gets }

# An exception: Polyphony::Cancel, or one of your own.
TooSlow = Class.new(StandardError)
begin
  cancel_after(0.01, with_exception: TooSlow) { silent.gets }
rescue TooSlow => e
  puts e.class
end

# Ruby's own way works without a thread.
begin
  Timeout.timeout(0.01) { silent.gets }
rescue Timeout::Error => e
  puts e.message
end

# The innermost that is over ends its block, and only that.
puts(move_on_after(60, with_value: "outer") { move_on_after(0.01, with_value: "inner") { sleep } })

# A limit on silence, not on the whole: whatever arrives starts the time anew.
reader, writer = IO.pipe
spin { 3.times { |i| writer.puts "part #{i}" }; writer.close }
parts = []
cancel_after(60) do |timer|
  reader.gets_loop(chomp: true) { |part| parts << part; timer.reset }
end
puts parts.join(", ")

# Several tries, each with its time.
result = 3.times.find { |i| move_on_after(0.02) { i == 2 || sleep } }
puts "try #{result} succeeded"
