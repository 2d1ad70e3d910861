# frozen_string_literal: true

require "pg"
require_relative "../../polyphony"

module Polyphony
  # What is set for libraries that a program loads, each by a `require` of its own.
  module Adapters
    # PG lets other fibers run wherever Ruby's own scheduler interface is asked, which is in every fiber but a
    # main one. Here it is asked in a main fiber, too, and transactions nest.
    #
    # A connection is one fiber's at a time: give each its own, or use a {Polyphony::ResourcePool}.
    #
    # @api private
    module Postgres
      WAITING = %i[
        exec exec_params exec_prepared prepare describe_portal describe_prepared query
        async_exec async_exec_params async_exec_prepared async_prepare async_query
        get_result get_last_result block wait_for_notify notifies_wait reset flush
      ].freeze
      private_constant :WAITING

      WAITING.each do |name|
        # @note Suspends the calling fiber until the server has answered.
        define_method(name) { |*arguments, &block| Polyphony.aside { super(*arguments, &block) } }
      end

      # One in another is part of it.
      #
      # @yieldparam connection [PG::Connection]
      # @return [Object] the block's value
      def transaction
        return yield(self) if @__in_transaction__

        begin
          @__in_transaction__ = true
          super
        ensure
          @__in_transaction__ = false
        end
      end

      # How a connection is made.
      module Connecting
        %i[new connect open setdb async_connect].each do |name|
          # @note Suspends the calling fiber until the server has let us in.
          define_method(name) do |*arguments, **options, &block|
            Polyphony.aside { super(*arguments, **options, &block) }
          end
        end
      end

      ::PG::Connection.prepend(self)
      ::PG::Connection.singleton_class.prepend(Connecting)
    end
  end
end
