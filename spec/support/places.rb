# frozen_string_literal: true

# Where code can run: the same examples in each place.
module Places
  ALL = ["the main fiber", "a spun fiber", "a thread", "a forked child"].freeze

  # `everywhere { it "…" }`
  module Everywhere
    def everywhere(*places, &examples)
      places = ALL if places.empty?
      places.each do |place|
        context("in #{place}", place: place) { class_exec(&examples) }
      end
    end
  end

  class << self
    def run(place, example)
      case place
      when "the main fiber" then example.run
      when "a spun fiber" then fiber(example)
      when "a thread" then thread(example)
      when "a forked child" then child(example)
      end
    end

    private

    # What RSpec keeps "per thread" it keeps per fiber.
    def fiber(example)
      data = RSpec::Support.thread_local_data
      spin do
        RSpec::Support.thread_local_data.replace(data)
        example.run
      end.await
    end

    def thread(example)
      data = RSpec::Support.thread_local_data
      Thread.new do
        Thread.current.report_on_exception = false
        RSpec::Support.thread_local_data.replace(data)
        Thread.current.backend
        example.run
      end.value
    end

    def child(example)
      failure = Child.forked do
        Leftovers.warm_up
        Leftovers.check(example)
        e = example.example.exception
        e && "#{e.class}: #{e.message}\n  #{e.backtrace&.first(8)&.join("\n  ")}"
      end
      raise Child::Failed, failure if failure

      # It did run, though RSpec saw nothing of it.
      example.instance_variable_set(:@executed, true)
    end
  end
end
