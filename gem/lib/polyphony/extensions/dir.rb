# frozen_string_literal: true

module Polyphony
  module Extensions
    # Listing directories, some names at a time.
    #
    # Ruby keeps its lock while it reads a directory, so in another thread that would hold everybody up just as
    # long: here others run in between. A small directory that the kernel has in memory is listed at once; of another one
    # the disk is read first, in a thread that needs no lock.
    #
    # @see ::Dir
    module Dir
      # Names after which others run.
      PIECE = 256
      # A pattern with a choice that is not in its last part.
      FAR = %r!\*\*|[*?\[{].*/!
      private_constant :PIECE, :FAR

      # What hands names on to a block, and lets others run now and then.
      # @api private
      def self.in_pieces(block)
        count = 0
        proc do |name|
          Polyphony.breathe if ((count += 1) % PIECE).zero?
          block.call(name)
        end
      end

      # @see ::Dir#initialize
      # @note Suspends the calling fiber where the directory is large, or not in the kernel's memory.
      def initialize(path, **options)
        Native.look_through(path) if Polyphony.scheduler
        super
      end

      # @see ::Dir#each
      # @note Lets other fibers run after every few hundred names.
      def each(&block)
        block && Polyphony.scheduler ? super(&Dir.in_pieces(block)) : super
      end

      # @see ::Dir#each_child
      # @note Lets other fibers run like {#each}.
      def each_child(&block)
        block && Polyphony.scheduler ? super(&Dir.in_pieces(block)) : super
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
        def foreach(*arguments, **options, &block)
          return super unless block && Polyphony.scheduler

          Native.look_through(arguments.first)
          super(*arguments, **options, &Dir.in_pieces(block))
        end

        # @see ::Dir.each_child
        # @note Lets other fibers run like {#foreach}.
        def each_child(*arguments, **options, &block)
          return super unless block && Polyphony.scheduler

          Native.look_through(arguments.first)
          super(*arguments, **options, &Dir.in_pieces(block))
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
        # @note Suspends the calling fiber where several directories are looked through, or one that is large.
        def glob(*arguments, **options, &block)
          return super unless Polyphony.scheduler

          found = Dir.far?(arguments.first) ? Polyphony.elsewhere { super(*arguments, **options, &nil) } : Dir.by_pieces(*arguments, **options)
          return super unless found

          block ? found.each(&block) && nil : found
        end

        # @see ::Dir.[]
        # @note Suspends the calling fiber like {#glob}.
        def [](*patterns, **options)
          return super unless Polyphony.scheduler
          return Polyphony.elsewhere { super } if Dir.far?(patterns.flatten)

          patterns.size == 1 && Dir.by_pieces(*patterns, **options) || super
        end

        # @!method exist?(path)
        #   @see ::Dir.exist?
        #   @note Suspends the calling fiber where the kernel has not in memory what the path names.
        # @!method empty?(path)
        #   @see ::Dir.empty?
        #   @note Suspends the calling fiber like {#exist?}.
        # @!method mkdir(path, mode = 0777)
        #   @see ::Dir.mkdir
        #   @note Suspends the calling fiber like {#exist?}.
        # @!method rmdir(path)
        #   @see ::Dir.rmdir
        #   @note Suspends the calling fiber like {#exist?}.
        %i[exist? empty? mkdir rmdir].each do |name|
          # A block of define_method's would belong to one Ractor.
          class_eval <<~RUBY, __FILE__, __LINE__ + 1
            def #{name}(*arguments)
              Native.look_up(arguments.first, true) if Polyphony.scheduler
              super
            end
          RUBY
        end
      end

      # Whether a pattern may lead to more than one directory: Ruby lets go of its lock before it opens each.
      # @api private
      def self.far?(patterns)
        Array(patterns).any? { |pattern| pattern.respond_to?(:to_str) && pattern.to_str.match?(FAR) }
      rescue ::ArgumentError, ::EncodingError
        false # for the original to refuse
      end

      # What a pattern finds in one directory, where that is large; nil where Ruby's own method is as good. Flags that are
      # seldom used are Ruby's, too.
      # @api private
      def self.by_pieces(pattern, flags = 0, base: nil, sort: true, **more)
        return unless ::String === pattern && ::Integer === flags && flags.nobits?(~FLAGS) && more.empty? && pattern.match?(SIMPLE)
        return unless pattern.encoding == ::Encoding.default_external && (base.nil? || ::String === base && !base.empty?)

        directory, last = pattern.match(%r{\A(.*/)?(.*)}m).captures
        choices = choices(last)
        listed = directory&.start_with?("/") ? directory : ::File.join(base || ".", directory || "")
        return unless choices && Native.look_through(listed)

        found = matching(listed, choices, flags)
        found.each(&:sort!) if sort
        found.flatten.map! { |name| "#{directory}#{name}" }
      rescue ::SystemCallError, ::ArgumentError, ::EncodingError
        nil # for the original to say
      end

      # For each choice the names in a directory that are meant. That of the directory itself may be one of them.
      def self.matching(directory, choices, flags)
        found = choices.map { [] }
        take = ->(name) { choices.zip(found) { |choice, names| names << name if ::File.fnmatch?(choice, name, flags) } }
        take.call(".")
        ::Dir.each_child(directory, &take)
        found
      end

      # The patterns that braces stand for, in the order in which Ruby looks for them; nil where that is better asked.
      def self.choices(pattern)
        before, braces, after = BRACES.match(pattern)&.captures
        if braces
          several = ",#{braces[1..-2]}".scan(CHOICE).flat_map { |choice,| choices("#{before}#{choice}#{after}") || return }
          return several if several.size <= MOST
        elsif !pattern.match?(/\A(?:\\?\.){0,2}\z/) && !pattern.match?(/(?<!\\)\{/)
          [pattern]
        end
      end
      private_class_method :matching, :choices

      # A choice of names in the last part, and nothing special before that.
      SIMPLE = %r!\A(?:[^*?\[\]{}\\\0/]+/|\A/)*(?=[^/]*[*?\[])(?:\\[^/\0]|[^/\\\0])+\z!
      # The outermost braces, which may have others within.
      BRACES = /\A((?:\\.|[^\\{])*)(\{(?:\\.|[^\\{}]|\g<2>)*\})(.*)\z/m
      # What stands after each comma, where one stands before the first.
      CHOICE = /,((?:\\.|[^\\{},]|(\{(?:\\.|[^\\{}]|\g<2>)*\}))*)/m
      # Choices that are looked for at once.
      MOST = 64
      # The flags that are understood here.
      FLAGS = ::File::FNM_DOTMATCH | ::File::FNM_EXTGLOB
      private_constant :SIMPLE, :BRACES, :CHOICE, :MOST, :FLAGS
    end
  end
end
