# frozen_string_literal: true

module Polyphony
  # Runs the block in a thread that runs no fibers: for calls of Ruby's that hold their thread and tell no
  # scheduler (open(2) of a FIFO, getaddrinfo(3)).
  #
  # A caller that is cancelled does not wait for the thread, which ends as soon as Ruby can end it.
  #
  # @note Suspends the calling fiber until the block has ended.
  # @return [Object] what the block returned
  # @raise what the block raised
  # @api private
  def self.elsewhere
    thread = ::Thread.new do
      ::Thread.current.report_on_exception = false
      yield
    end
    thread.value
  ensure
    thread&.kill if thread&.alive?
  end
end
