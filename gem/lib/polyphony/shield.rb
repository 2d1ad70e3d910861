# frozen_string_literal: true

require_relative "bare"

module Polyphony
  # Runs a block that is not to be cancelled: what others raise in the fiber meanwhile (`stop`, `terminate`,
  # `raise`, a timeout armed outside) is raised when the block is over. Timeouts armed in it work, and
  # so do signals and `Thread#raise`.
  #
  # Where the block itself raises, that goes on, and what was delayed is raised at the fiber's next wait.
  # A {Extensions::Fiber#terminate} with a grace ends the delay when the grace is over.
  #
  # @param within [Numeric, nil] seconds; when they are over what was delayed is raised in the block
  # @return [Object] the block's value
  # @example
  #   begin
  #     serve(connection)
  #   ensure
  #     Polyphony.shield(within: 5) { connection.write(GOODBYE) }
  #   end
  def self.shield(within: nil)
    raise ::ArgumentError, "shield needs a block to run" unless block_given?

    scheduler = scheduler!
    timer = scheduler.shield(within)
    finished = false
    begin
      value = yield
      finished = true
      value
    ensure
      scheduler.unshield(timer, finished, !$!.nil?)
    end
  end
end
