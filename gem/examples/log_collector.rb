# frozen_string_literal: true

# Runs several commands at once and collects what they print, each line marked with who said it.
#
#     ruby log_collector.rb COMMAND...      for instance: "ping -c3 localhost" "ls -l"
require "polyphony"

log = Queue.new
commands = ARGV.each_with_index.map do |command, i|
  spin do
    IO.popen(command, err: %i[child out]) do |output|
      output.gets_loop(chomp: true) { |line| log << "#{i}| #{line}" }
    end
    log << "#{i}> ended with #{$?.exitstatus}"
  end
end
spin do
  Fiber.await(*commands)
  log.close
end

while (line = log.shift)
  puts line
end
