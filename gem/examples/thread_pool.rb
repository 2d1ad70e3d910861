# frozen_string_literal: true

# Computing on a pool of threads, while fibers go on.
#
#     ruby thread_pool.rb
require "polyphony"
require "digest"

pool = Polyphony::ThreadPool.new(2)
beats = 0
heart = spin { loop { beats += 1; snooze } }

texts = %w[one two three four].map { |word| word * 200_000 }
digests = texts.map { |text| spin { pool.process { Digest::SHA256.hexdigest(text) } } }
Fiber.await(*digests).each { |digest| puts digest[0, 16] }

begin
  pool.process { Integer("a pool hands errors on") }
rescue ArgumentError => e
  puts e.message
end

heart.stop
puts "the fibers went on: #{beats > 1}"
pool.stop
