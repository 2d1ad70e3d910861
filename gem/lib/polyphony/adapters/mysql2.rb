# frozen_string_literal: true

require "mysql2"
require_relative "../../polyphony"

module Polyphony
  module Adapters
    # A query of MySQL's client lets other fibers run wherever Ruby's own scheduler interface is asked, which is in
    # every fiber but a main one. Here it is asked in a main fiber, too. The client connects where nothing of Ruby is
    # asked, in any fiber: that is done in a thread of a pool.
    #
    # What is not covered: prepared statements and `ping` hold the thread until the server has answered.
    #
    # A client is one fiber's at a time: give each its own, or use a {Polyphony::ResourcePool}.
    #
    # @api private
    module Mysql2
      # @note Suspends the calling fiber until the server begins to answer. A fiber that is ended meanwhile closes the
      #   connection, as a thread does that is killed.
      # @see ::Mysql2::Client#query
      def query(...) = Polyphony.aside { super }

      private

      # What `new` ends with.
      def connect(...) = Polyphony.scheduler ? ThreadPool.process { super } : super

      ::Mysql2::Client.prepend(self)
    end
  end
end
