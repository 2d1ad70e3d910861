# frozen_string_literal: true

require "mysql2"
require "socket"
require_relative "../../polyphony"

module Polyphony
  module Adapters
    # A query of MySQL's client lets other fibers run wherever Ruby's own scheduler interface is asked, which is in
    # every fiber but a main one. Here it is asked in a main fiber, too. The client connects, pings and speaks of
    # prepared statements where nothing of Ruby is asked, in any fiber: that is done in threads that run no fibers.
    #
    # What is not covered: rows of a result with `stream: true`, each of which is waited for where it is asked for.
    #
    # A client is one fiber's at a time: give each its own, or use a {Polyphony::ResourcePool}.
    #
    # @api private
    module Mysql2
      # @note Suspends the calling fiber until the server begins to answer. A fiber that is ended meanwhile closes the
      #   connection, as a thread does that is killed.
      # @see ::Mysql2::Client#query
      def query(...) = Polyphony.aside { super }

      # @note Suspends the calling fiber until the server has answered, and closes as {#query} does.
      # @see ::Mysql2::Client#prepare
      def prepare(...)
        statement = Mysql2.away(self) { super }
        statement.instance_variable_set(:@client_of_polyphony, self)
        statement
      end

      # @note Suspends the calling fiber until the server has answered, and closes as {#query} does.
      # @see ::Mysql2::Client#ping
      def ping = Mysql2.away(self) { super }

      # What a prepared statement does besides.
      module Statement
        # @note Suspends the calling fiber until the server has answered. A fiber that is ended meanwhile closes the
        #   connection.
        # @see ::Mysql2::Statement#execute
        def execute(...) = Mysql2.away(@client_of_polyphony) { super }
      end

      # Runs the block in another thread. Where the fiber is ended meanwhile, the connection is cut: then the library is
      # done with it, and it can be closed.
      # @api private
      def self.away(client, &block)
        return yield unless Polyphony.scheduler && client

        helper = ::Fiber.current.spin(:mysql2) { Polyphony.elsewhere(leaving: false, &block) }
        begin
          helper.await
        ensure
          end_of(helper, client) unless helper.dead?
        end
      end

      def self.end_of(helper, client)
        ::BasicSocket.for_fd(client.socket).tap { |socket| socket.autoclose = false }.shutdown
        ::Fiber.current.__await_ends__([helper.stop])
        client.close
      end
      private_class_method :end_of

      private

      # What `new` ends with.
      def connect(...) = Polyphony.elsewhere { super }

      ::Mysql2::Client.prepend(self)
      ::Mysql2::Statement.prepend(Statement)
    end
  end
end
