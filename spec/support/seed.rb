# frozen_string_literal: true

# Random numbers, and a random order of the examples, that can be had again: SEED=… repeats a run.
module Seed
  NUMBER = Integer(ENV.fetch("SEED") { RSpec.configuration.seed })

  RSpec.configure do |config|
    config.order = "rand:#{NUMBER}" # `--order defined` is stronger
    config.before(:suite) { $stderr.puts "seed #{NUMBER}" }
  end

  def random = @random ||= Random.new(NUMBER)
end
