# frozen_string_literal: true

require_relative "comparison"
require_relative "known"

# The same seeded sequences of calls come out the same in stock Ruby and where the gem is loaded.
#
# PARITY_SEEDS=n runs n sequences of each family, PARITY_FIRST=s begins elsewhere: the same ones in every run
# unless asked, so that one who changes something else is not told of what others have to mend.
RSpec.describe "Sequences of calls, as in stock Ruby", limit: 600 do
  # Sequences of a family; those of `commands` start programs, which takes its time.
  BOUNDS = { "streams" => 200, "locks" => 100, "commands" => 40, "connections" => 60, "compression" => 60 }.freeze
  SHOWN = 3

  BOUNDS.each do |family, bound|
    comparison = Comparison.new(family, known: Known::ALL, ends: Known::ENDS)
    Comparison::MODES.each do |mode|
      it "hold for #{family}, in the mode #{mode}" do
        first = Integer(ENV.fetch("PARITY_FIRST", 1))
        seeds = first...(first + Integer(ENV.fetch("PARITY_SEEDS", bound)))
        found = comparison.differences(mode, seeds).first(SHOWN)
        expect(found.map { |difference| comparison.shorten(difference).to_s }.join("\n")).to eq ""
      end
    end
  end
end
