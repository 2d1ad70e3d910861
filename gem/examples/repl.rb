# frozen_string_literal: true

# A prompt for Ruby, with fibers that go on behind it while it waits for a line.
#
#     ruby repl.rb
#
#     > ticks                                        how often the background fiber ran
#     > every_second = spin { every(1) { print "." } }
#     > every_second.stop
#     > exit
require "polyphony"

$stdout.sync = true
$ticks = 0

def ticks = $ticks

background = spin { every(0.01) { $ticks += 1 } }
context = binding

loop do
  print "> "
  line = $stdin.gets(chomp: true)
  break if line.nil? || line == "exit"

  begin
    puts "=> #{context.eval(line).inspect}"
  rescue StandardError, ScriptError => e
    puts "#{e.class}: #{e.message}"
  rescue Interrupt
    puts "interrupted"
  end
end

background.stop
puts "bye"
