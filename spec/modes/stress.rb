# frozen_string_literal: true

# Collects garbage at every allocation of every example. That takes a hundred times as long: for examples that
# look at no clock.
require "rspec/support/differ" # to load it then would take a minute

RSpec.configure do |config|
  config.around do |example|
    GC.stress = true
    example.run
  ensure
    GC.stress = false
  end
end
