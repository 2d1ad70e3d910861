# frozen_string_literal: true

module Polyphony
  module Extensions
    # Listing directories, some names at a time.
    #
    # Ruby keeps its lock while it reads a directory, so in another thread that would hold everybody up just as
    # long: here others run in between. A small directory is listed at once.
    #
    # @see ::Dir
    module Dir
      # Names after which others run.
      PIECE = 256
      # A pattern with a choice that is not in its last part.
      FAR = %r!\*\*|[*?\[{].*/!
      private_constant :PIECE, :FAR

      # Counts names, and lets others run now and then.
      # @api private
      def self.step(count)
        Polyphony.breathe if (count % PIECE).zero?
        count + 1
      end

      # @see ::Dir#each
      # @note Lets other fibers run after every few hundred names.
      def each
        return super unless block_given? && Polyphony.scheduler

        count = 1
        super do |name|
          count = Dir.step(count)
          yield name
        end
      end

      # @see ::Dir#each_child
      # @note Lets other fibers run like {#each}.
      def each_child
        return super unless block_given? && Polyphony.scheduler

        count = 1
        super do |name|
          count = Dir.step(count)
          yield name
        end
      end

      # @see ::Dir#children
      # @note Lets other fibers run like {#each}.
      def children
        return super unless Polyphony.scheduler

        names = []
        each_child { |name| names << name }
        names
      end

      # Listing directories by their paths.
      #
      # @see ::Dir
      module Singleton
        # @see ::Dir.foreach
        # @note Lets other fibers run after every few hundred names.
        def foreach(*arguments, **options)
          return super unless block_given? && Polyphony.scheduler

          count = 1
          super(*arguments, **options) do |name|
            count = Dir.step(count)
            yield name
          end
        end

        # @see ::Dir.each_child
        # @note Lets other fibers run like {#foreach}.
        def each_child(*arguments, **options)
          return super unless block_given? && Polyphony.scheduler

          count = 1
          super(*arguments, **options) do |name|
            count = Dir.step(count)
            yield name
          end
        end

        # @see ::Dir.children
        # @note Lets other fibers run like {#foreach}.
        def children(*arguments, **options)
          return super unless Polyphony.scheduler

          names = []
          each_child(*arguments, **options) { |name| names << name }
          names
        end

        # @see ::Dir.entries
        # @note Lets other fibers run like {#foreach}.
        def entries(*arguments, **options)
          return super unless Polyphony.scheduler

          names = []
          foreach(*arguments, **options) { |name| names << name }
          names
        end

        # @see ::Dir.glob
        # @note Suspends the calling fiber where several directories are looked through.
        def glob(*arguments, **options, &block)
          return super unless Polyphony.scheduler && Dir.far?(arguments.first)

          found = Polyphony.elsewhere { super(*arguments, **options, &nil) }
          block ? found.each(&block) && nil : found
        end

        # @see ::Dir.[]
        # @note Suspends the calling fiber like {#glob}.
        def [](*patterns, **options)
          return super unless Polyphony.scheduler && Dir.far?(patterns.flatten)

          Polyphony.elsewhere { super }
        end
      end

      # Whether a pattern may lead to more than one directory: Ruby lets go of its lock before it opens each.
      # @api private
      def self.far?(patterns)
        Array(patterns).any? { |pattern| pattern.respond_to?(:to_str) && pattern.to_str.match?(FAR) }
      rescue ::ArgumentError, ::EncodingError
        false # for the original to refuse
      end
    end
  end
end
