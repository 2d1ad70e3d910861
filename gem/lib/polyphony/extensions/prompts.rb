# frozen_string_literal: true

require_relative "../shield"

module Polyphony
  module Extensions
    # Prompts with fibers behind them: IRB and Pry. Loaded by {Late}.
    #
    # A line is read in a fiber of its own. So an error that ends a background fiber, which its parent hears of,
    # is told above the line and does not end it.
    #
    # @api private
    module Prompts
      # Runs the block, which reads a line, and tells of what fails behind it.
      #
      # @return [Object] the block's value
      def self.read(&block)
        return yield unless Polyphony.scheduler

        asking = ::Fiber.current.spin(:prompt, &block)
        begin
          telling(asking) { return asking.await } while true
        ensure
          ::Fiber.current.__await_ends__([asking.stop]) unless asking.dead?
        end
      end

      # Runs the block; an error of a fiber other than the given one is told in place of being raised.
      def self.telling(own = nil)
        yield
      rescue ::StandardError, ::ScriptError => e
        raise if e.source_fiber.nil? || e.source_fiber.equal?(own) || e.source_fiber.oob # Ctrl-C is the prompt's own

        $stderr.write("\n", e.full_message(highlight: $stderr.tty?))
      end

      # @see ::IRB::InputMethod
      module Reading
        # @note Suspends the calling fiber until there is a line.
        def gets = Prompts.read { super() }
      end

      # @see ::IRB::Irb
      module Evaluating
        # Two errors at once are told one after the other.
        def handle_exception(error)
          Prompts.telling { Polyphony.shield { super } }
        end
      end

      # @see ::Pry::REPL
      module Asking
        private

        # @note Suspends the calling fiber until there is a line.
        def input_readline(*arguments) = Prompts.read { super(*arguments) }
      end

      # @see ::Pry
      module Showing
        # What fails meanwhile is told afterwards: Pry would take it for an error of the value.
        def show_result(result)
          Prompts.telling { Polyphony.shield { super } }
        end
      end

      # Serves what there is of IRB and Pry. Doing it again changes nothing.
      def self.install
        serve_irb if defined?(::IRB::Irb) && !::IRB::Irb.include?(Evaluating)
        serve_pry if defined?(::Pry::REPL) && !::Pry.include?(Showing)
      end

      def self.serve_irb
        ::IRB::Irb.prepend(Evaluating)
        IRB_READERS.each { |name| ::IRB.const_get(name).prepend(Reading) if ::IRB.const_defined?(name) }
      end

      def self.serve_pry
        ::Pry.prepend(Showing)
        ::Pry::REPL.prepend(Asking)
      end
      private_class_method :serve_irb, :serve_pry

      # Where IRB reads; ReidlineInputMethod was Ruby 3.1's name for one, and later another's parent.
      IRB_READERS = %i[StdioInputMethod ReadlineInputMethod ReidlineInputMethod RelineInputMethod].freeze
      private_constant :IRB_READERS
    end
  end
end
