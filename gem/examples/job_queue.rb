# frozen_string_literal: true

# Background jobs that are tried again when they fail, each time after a longer pause, and given up at last.
#
#     ruby job_queue.rb
require "polyphony"

class JobQueue
  TRIES = 3
  PAUSE = 0.01

  def initialize(workers)
    @jobs = Queue.new
    @open = 0
    @idle = Queue.new
    @workers = Array.new(workers) { spin { work } }
  end

  def add(name, &job)
    @open += 1
    @jobs << [name, job, 1]
  end

  # Waits until every job is done or given up, and ends the workers.
  def finish
    @idle.shift while @open.positive?
    @jobs.close
    Fiber.await(*@workers)
  end

  private

  def work
    while (name, job, try = @jobs.shift)
      attempt(name, job, try)
    end
  end

  def attempt(name, job, try)
    job.call(try)
    done "#{name}: done at try #{try}"
  rescue => e
    return done("#{name}: given up, #{e.message}") if try == TRIES

    after(PAUSE * 2**try) { @jobs << [name, job, try + 1] }
  end

  def done(text)
    puts text
    @open -= 1
    @idle << true
  end
end

queue = JobQueue.new(2)
queue.add("steady") { :fine }
queue.add("shaky") { |try| raise "not yet" if try < 2 }
queue.add("hopeless") { raise "never" }
queue.finish
