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

  # The order statistics between which the median of some figures lies with 95 %.
  def interval(figures = ratios)
    low = [((figures.size / 2.0) - (0.98 * Math.sqrt(figures.size))).floor - 1, 0].max
    figures.sort.values_at(low, -1 - low)
  end

  # The line that report.rb reads. A goal in words ("80 ns") is about our figure, and the interval is that figure's.
  def row(name, unit, reference, goal)
    bounds = goal.is_a?(String) ? interval(figures(:ours)) : interval
    ["row", name, unit, middle(:ours), reference, middle(:reference), rounded(ratio, 2),
     bounds.map { |bound| rounded(bound, 2) }.join("-"), goal].join("\t")
  end

  private

  def figures(who) = pairs.map { |pair| pair[who] }

  def middle(who) = rounded(median(figures(who)), 1)

  # Of what is small more digits count.
  def rounded(figure, digits) = figure.round(figure.abs < 1 ? [digits, 3].max : digits)

  def median(numbers) = numbers.sort[numbers.size / 2]
end
