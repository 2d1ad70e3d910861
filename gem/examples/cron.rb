# frozen_string_literal: true

# Jobs that run every so often, so many times, each in a fiber of its own.
#
#     ruby cron.rb
require "polyphony"

class Cron
  def initialize
    @jobs = []
  end

  # Runs the block every so many seconds; one that fails is heard of, and runs again at the next tick.
  def schedule(name, seconds, times:)
    @jobs << spin(name) do
      every(seconds) do
        break if times.zero?

        times -= 1
        attempt(name) { yield times }
      end
    end
  end

  def wait = Fiber.await(*@jobs)

  private

  def attempt(name)
    yield
  rescue => e
    puts "#{name}: #{e.message}"
  end
end

cron = Cron.new
backups = 0
reports = []
cron.schedule("backup", 0.01, times: 5) { backups += 1 }
cron.schedule("report", 0.03, times: 2) do |left|
  raise "no paper" if left == 1

  reports << "#{left} to come"
end
cron.wait
puts "#{backups} backups, reports: #{reports.join(', ')}"
