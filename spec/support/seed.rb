# frozen_string_literal: true

# Random numbers that can be had again: SEED=… repeats a run.
module Seed
  NUMBER = Integer(ENV.fetch("SEED", Random.new_seed % 1_000_000))

  RSpec.configure { |config| config.before(:suite) { $stderr.puts "seed #{NUMBER}" } }

  def random = @random ||= Random.new(NUMBER)
end
