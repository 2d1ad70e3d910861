# frozen_string_literal: true

# One byte goes to and fro between two fibers over two pipes: per crossing, a write and a read that waits. The
# reference is two bare fibers over a ring loop written by hand for them (gem/bench/ring, built here).
#
# usage: pipe.rb ours|reference
require_relative "measure"

CROSSINGS = 100_000

# Two bare fibers that take turns at one ring: whoever finds the other's completion lets it run.
class ByHand
  def initialize(there, back)
    Ring.open
    @there, @back = there.map(&:fileno), back.map(&:fileno)
    @done = [false, false]
    @unborn = Fiber.new { answer }
    @fibers = [Fiber.current, @unborn]
  end

  def ask
    CROSSINGS.times do
      write(0, @there[1])
      read(0, @back[0])
    end
  end

  private

  def answer
    CROSSINGS.times do
      read(1, @there[0])
      write(1, @back[1])
    end
  end

  def read(me, fd)
    Ring.read(me, fd)
    park(me)
    Ring.bytes(me, 1)
  end

  def write(me, fd)
    Ring.write(me, fd, "x")
    park(me)
  end

  # The other fiber starts where this one would wait for the first time.
  def be_born
    @unborn = nil
    @fibers[1].transfer
  end

  def park(me)
    be_born if @unborn
    until @done[me]
      ended = Ring.wait
      @done[ended] = true
      @fibers[ended].transfer if ended != me
    end
    @done[me] = false
  end
end

def build_ring
  directory = File.expand_path("../../target/bench/ring", __dir__)
  require "fileutils"
  FileUtils.mkdir_p(directory)
  build = "#{RbConfig.ruby} #{__dir__}/ring/extconf.rb && make"
  system(build, chdir: directory, out: File::NULL) || abort("the reference did not compile: #{build}")
  require "#{directory}/ring"
end

there, back = IO.pipe, IO.pipe
case ARGV[0]
when "ours"
  require "polyphony"
  buffer, other_buffer = +"", +""
  spin { CROSSINGS.times { there[0].readpartial(16, other_buffer); back[1].write("x") } }
  Measure.per_unit(2 * CROSSINGS) { CROSSINGS.times { there[1].write("x"); back[0].readpartial(16, buffer) } }
when "reference"
  build_ring
  by_hand = ByHand.new(there, back)
  Measure.per_unit(2 * CROSSINGS) { by_hand.ask }
end
