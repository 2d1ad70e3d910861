# frozen_string_literal: true

# A pool of processes: jobs go out and results come back as lines over socket pairs.
#
#     ruby process_pool.rb
#
# Each worker process computes on a core of its own; in the parent a fiber stands for it.
require "polyphony"
require "socket"

WORKERS = 2

def factors(number)
  2.upto(Integer.sqrt(number)) { |i| return [i, *factors(number / i)] if (number % i).zero? }
  [number]
end

def worker
  ours, theirs = UNIXSocket.pair
  pid = Polyphony.fork do
    ours.close
    theirs.gets_loop { |line| theirs.puts factors(Integer(line)).join("*") }
  end
  theirs.close
  [ours, pid]
end

jobs = Queue.new
results = {}
workers = Array.new(WORKERS) { worker }
fibers = workers.map do |socket, pid|
  spin do
    while (number = jobs.shift)
      socket.puts number
      results[number] = socket.gets(chomp: true)
    end
    socket.close # the worker's stream ends, and so does the worker
    Process.wait2(pid).last.success?
  end
end

[91, 97, 1_000_003, 6_469_693_230, 1024].each { |number| jobs << number }
jobs.close
ended = Fiber.await(*fibers)
results.sort.each { |number, text| puts "#{number} = #{text}" }
puts "#{ended.count(true)} workers ended well"
