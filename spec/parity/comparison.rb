# frozen_string_literal: true

require "open3"
require "rbconfig"

# Runs the same sequences in stock Ruby and where the gem is loaded, and says where they differ.
#
#     ruby spec/parity/comparison.rb FAMILY FIRST COUNT [MODE…]
class Comparison
  PROGRAM = File.expand_path("sequence.rb", __dir__)
  LIBRARY = File.expand_path("../../gem/lib", __dir__)
  MODES = %w[main spun bare].freeze
  # Sequences for one process: a fresh Ruby often enough, and not for each.
  BATCH = 100

  # One sequence that came out differently: the line of stock Ruby, and ours, with what led there.
  Difference = Struct.new(:mode, :family, :seed, :steps, :stock, :ours) do
    def to_s
      "#{family} #{seed} in #{mode}, shortest as steps #{steps.join(",")}:\n    stock: #{stock.inspect}\n    ours:  #{ours.inspect}"
    end
  end

  def initialize(family, known: [], ends: [])
    @family = family
    @known = known
    @ends = ends
    @stock = {}
  end

  # @return [Array<Difference>]
  def differences(mode, seeds)
    seeds.each_slice(BATCH).flat_map do |batch|
      stock = @stock[batch] ||= transcripts("stock", batch)
      ours = transcripts(mode, batch)
      batch.filter_map { |seed| difference(mode, seed, stock[seed], ours[seed]) }
    end
  end

  # Leaves out whatever step the difference does not need.
  def shorten(found)
    steps = found.steps
    steps.reverse_each do |step|
      less = found.steps - [step]
      stock, ours = ["stock", found.mode].map { |mode| transcripts(mode, [found.seed], less)[found.seed] }
      still = less.empty? ? nil : difference(found.mode, found.seed, stock, ours)
      found = still.tap { still.steps = less } if still
    end
    found
  end

  private

  # @return [Hash{Integer => Array<String>}] the lines of each sequence
  def transcripts(mode, seeds, steps = nil)
    lines = Hash.new { |all, seed| all[seed] = [] }
    remaining = seeds.to_a
    until remaining.empty?
      run(mode, remaining, steps).each { |line| lines[line.to_i] << line unless line == "done" }
      lines[remaining.first] << "nothing was said" unless lines.key?(remaining.first)
      remaining = remaining.drop_while { |seed| lines.key?(seed) }
    end
    lines
  end

  def run(mode, seeds, steps)
    loaded = mode == "stock" ? [] : ["-I", LIBRARY]
    command = [RbConfig.ruby, "-W0", *loaded, PROGRAM, mode, @family, seeds.first.to_s, seeds.size.to_s, *steps&.join(",")]
    # In a thread that runs no fibers: what is tested is the other process.
    Thread.new { Open3.capture3(*command) }.value.first.force_encoding("BINARY").split("\n")
  end

  def difference(mode, seed, stock, ours)
    [stock.size, ours.size].max.times do |number|
      before, after = stock[number], ours[number]
      return if before == after && known?(@ends, mode, before.to_s, after.to_s)
      next if before == after
      return if known?(@known, mode, before.to_s, after.to_s) # from there on they go different ways

      return Difference.new(mode, @family, seed, [*0...[number, stock.size].min], before, after)
    end
    nil
  end

  def known?(entries, mode, stock, ours)
    entries.any? { |entry| entry.fits?(mode, stock, ours) }
  end
end

if $PROGRAM_NAME == __FILE__
  family, first, count, *modes = ARGV
  first, count = Integer(first), Integer(count)
  require_relative "known"
  comparison = Comparison.new(family, known: Known::ALL, ends: Known::ENDS)
  (modes.empty? ? Comparison::MODES : modes).each do |mode|
    found = comparison.differences(mode, first...(first + count))
    puts "#{mode}: #{found.size} of #{count}"
    found.group_by { |difference| [difference.stock.to_s.split("\t")[1].to_s.gsub(/-?\d+|"[^"]*"/, "*"), difference.ours.to_s.split("\t")[1] == "hangs"] }.sort_by { |_, all| -all.size }.first(12).each do |_, all|
      puts "#{all.size} like #{all.min_by { |each| each.steps.size }.to_s[0, 600]}"
    end
  end
end
