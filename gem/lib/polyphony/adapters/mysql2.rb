# frozen_string_literal: true

require "mysql2"
require_relative "../../polyphony"

module Polyphony
  module Adapters
    # The query is sent, and what waits for the answer is the connection's descriptor, not the client.
    #
    # A client is one fiber's at a time: give each its own, or use a {Polyphony::ResourcePool}.
    #
    # @api private
    module Mysql2
      # @note Suspends the calling fiber until the server begins to answer.
      # @see ::Mysql2::Client#query
      def query(sql, options = {})
        return super if options[:async] || !Polyphony.scheduler

        super(sql, options.merge(async: true))
        ::IO.for_fd(socket, autoclose: false).wait_readable
        async_result
      end

      ::Mysql2::Client.prepend(self)
    end
  end
end
