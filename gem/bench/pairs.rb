# frozen_string_literal: true

# Ours and the reference in turns, and what such pairs say. The machine's speed wanders; within a pair it hardly
# does, so a pair's ratio is worth more than the ratio of two averages.
class Pairs
  # Takes `count` pairs; the block measures :ours or :reference. Who comes first alternates.
  def self.take(count, &measure)
    new(Array.new(count) { |i| (i.even? ? %i[reference ours] : %i[ours reference]).to_h { |who| [who, measure.(who)] } })
  end

  attr_reader :pairs

  def initialize(pairs)
    @pairs = pairs
  end

  def +(other) = Pairs.new(pairs + other.pairs)

  def ratios = pairs.map { |pair| pair[:ours] / pair[:reference] }

  def ratio = median(ratios)

  # The order statistics between which the median ratio lies with 95 %.
  def interval
    low = [((ratios.size / 2.0) - (0.98 * Math.sqrt(ratios.size))).floor - 1, 0].max
    ratios.sort.values_at(low, -1 - low)
  end

  # The line that report.rb reads.
  def row(name, unit, reference, goal)
    ["row", name, unit, middle(:ours), reference, middle(:reference), ratio.round(2),
     interval.map { |bound| bound.round(2) }.join("-"), goal].join("\t")
  end

  private

  def middle(who) = median(pairs.map { |pair| pair[who] }).round(1)

  def median(numbers) = numbers.sort[numbers.size / 2]
end
