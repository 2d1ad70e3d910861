# frozen_string_literal: true

module Polyphony
  module Extensions
    # Waiting for another Ractor, in a thread that runs no fibers: Ruby asks no scheduler.
    #
    # Ruby hangs where two threads of a Ractor wait for others at once (3.1 to 3.4): so one fiber waits after the
    # other, as in one thread, and one that is cancelled until its wait is over.
    #
    # @see ::Ractor
    # @api private
    module Ractor
      # What this Ruby has of the methods that wait.
      WAITING = %i[take value join].select { |name| ::Ractor.method_defined?(name) }.freeze
      # What a fiber waits with for others than one Ractor.
      FUNCTIONS = %i[receive recv select yield].select { |name| ::Ractor.respond_to?(name) }.freeze
      private_constant :WAITING, :FUNCTIONS

      # @!method take
      #   @see ::Ractor#take
      #   @note Suspends the calling fiber until the Ractor has something to give.
      # @!method value
      #   @see ::Ractor#value
      #   @note Suspends the calling fiber until the Ractor has ended.
      # @!method join
      #   @see ::Ractor#join
      #   @note Suspends the calling fiber until the Ractor has ended.
      WAITING.each do |name|
        class_eval <<~RUBY, __FILE__, __LINE__ + 1
          def #{name}(...) = Ractor.wait { super }
        RUBY
      end

      # @api private
      def self.wait(&block)
        return yield unless Polyphony.scheduler

        turn = ::Ractor.current[:__polyphony_turn__] ||= ::Thread::Mutex.new
        turn.synchronize { Polyphony.elsewhere(leaving: false, &block) }
      end

      # Functions of Ractor.
      #
      # @!method receive
      #   @see ::Ractor.receive
      #   @note Suspends the calling fiber until there is a message.
      # @!method recv
      #   @see #receive
      # @!method select(*ractors, **options)
      #   @see ::Ractor.select
      #   @note Suspends the calling fiber until a Ractor has something to give.
      # @!method yield(object, move: false)
      #   @see ::Ractor.yield
      #   @note Suspends the calling fiber until somebody takes it.
      module Singleton
        FUNCTIONS.each do |name|
          class_eval <<~RUBY, __FILE__, __LINE__ + 1
            def #{name}(...) = Ractor.wait { super }
          RUBY
        end

        # @see ::Ractor.receive_if
        # @note Suspends the calling fiber until there is a message that the block wants. The block runs in this fiber;
        #   it must not wait.
        if ::Ractor.respond_to?(:receive_if)
          def receive_if(&block)
            return super unless block && Polyphony.scheduler && !Elsewhere.here?

            Ractor.choose(block) { |asking| super(&asking) }
          end
        end
      end

      # Has another thread take a message that the block, here, wants.
      # @api private
      def self.choose(block)
        asked, answered = ::Thread::Queue.new, ::Thread::Queue.new
        taker = ::Fiber.current.spin(:receive_if) do
          Ractor.wait { yield ->(message) { (asked << [message]) && answered.pop } }
        ensure
          asked.close
        end
        while (message = asked.pop)
          answered << block.call(*message)
        end
        taker.await
      ensure
        ::Fiber.current.__await_ends__([taker.stop]) unless taker.nil? || taker.dead?
      end
    end
  end
end
