# frozen_string_literal: true

# Keeps commands running: whichever ends is started again, and all of them end with the supervisor.
#
#     ruby process_supervisor.rb COMMAND...      for instance: "sleep 1" "ruby server.rb"
#
#     SIGUSR1            says how often each was started
#     SIGTERM, SIGINT    ends the commands, then the supervisor
require "polyphony"

$stdout.sync = true
starts = Hash.new(0)
trap("USR1") { puts starts.map { |command, times| "#{command}: #{times}" }.sort }

begin
  puts "watching #{ARGV.size} commands"
  ARGV.each do |command|
    spin(command) do
      starts[command] += 1
      Polyphony.watch_process(command)
      sleep 0.05 # one that ends at once is not to keep the machine busy
    end
  end
  supervise(restart: :always)
rescue SignalException # SIGINT or SIGTERM
  Fiber.current.shutdown_all_children # asks each command to end, and waits for it
  puts "stopped"
end
