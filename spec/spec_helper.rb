# frozen_string_literal: true

# Every spec runs on whichever backend POLYPHONY_BACKEND names.
#
# Around each example stand a watchdog, which ends the process with a dump rather than let it hang, and a
# count of what the example must not leave behind: fibers, operations, descriptors, threads, children.
$LOAD_PATH.unshift File.expand_path("../gem/lib", __dir__)

require "polyphony"
require_relative "support/watchdog"
require_relative "support/leftovers"
require_relative "support/child"
require_relative "support/places"
require_relative "support/descriptors"
require_relative "support/seed"
require_relative "support/tls"
require_relative "support/behaviours"
Dir[File.join(__dir__, "shared", "*.rb")].each { |file| require file }

RSpec.configure do |config|
  config.fail_if_no_examples = true
  config.disable_monkey_patching!
  config.expect_with(:rspec) { |expectations| expectations.syntax = :expect }
  config.mock_with :nothing # its `receive` is not ours
  config.threadsafe = false # a Monitor around `let` would hide what the examples are about
  config.extend Places::Everywhere
  config.extend Behaviours
  config.include Descriptors
  config.include Streams
  config.include Child
  config.include Seed
  config.include TLS

  config.before(:suite) { Leftovers.warm_up }
  config.around { |example| Watchdog.over(example) { Leftovers.check(example) } }
  config.around(:each, :place) { |example| Places.run(example.metadata[:place], example) }
  config.after { close_descriptors; remove_files }
end
