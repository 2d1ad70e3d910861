# frozen_string_literal: true

# Prints what is appended to a file, as `tail -f` does, until it is interrupted.
#
#     ruby tail_f.rb FILE [SECONDS BETWEEN LOOKS]
require "polyphony"

$stdout.sync = true
path = ARGV.fetch(0) { abort "which file?" }
interval = Float(ARGV.fetch(1, 0.2))

begin
  File.open(path) do |file|
    loop do
      file.each_line { |line| print line }
      # Where the file became shorter it was begun anew.
      file.rewind if file.size < file.pos
      sleep interval
    end
  end
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
