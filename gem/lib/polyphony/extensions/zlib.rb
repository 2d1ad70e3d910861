# frozen_string_literal: true

module Polyphony
  module Extensions
    # Compressing and decompressing large strings.
    #
    # Zlib works without Ruby's lock, but in the thread that asked: a large string is worked on in a thread that
    # runs no fibers, where one call is all of it. What calls back, and a file of gzip's, which reads and writes
    # an IO as it goes, gets a piece at a time, and others run in between. A small string takes less time than
    # either costs.
    module Zlib
      # Bytes from which another thread is worth it: zlib takes more than ten times as long as handing them over.
      LARGE = 64 * 1024
      # The same of what is decompressed: a little may become much.
      PACKED = 8 * 1024
      # Bytes that are worked on at once: half a millisecond.
      PIECE = 16 * 1024
      # Bytes of which a checksum is taken at once.
      SUM = 1024 * 1024

      # @!method deflate(string, *arguments)
      #   @see ::Zlib.deflate
      #   @note Suspends the calling fiber where the string is large.
      # @!method inflate(string, *arguments)
      #   @see ::Zlib.inflate
      #   @note Suspends as {#deflate} does.
      # @!method gzip(string, **options)
      #   @see ::Zlib.gzip
      #   @note Suspends as {#deflate} does.
      # @!method gunzip(string)
      #   @see ::Zlib.gunzip
      #   @note Suspends as {#deflate} does.
      { deflate: :LARGE, gzip: :LARGE, inflate: :PACKED, gunzip: :PACKED }.each do |name, large|
        # A block of define_method's would belong to one Ractor. A copy shares the bytes: others may change theirs.
        class_eval <<~RUBY, __FILE__, __LINE__ + 1
          def #{name}(string = (missing = true), *rest, **options)
            return super(**options) if missing
            return super if Polyphony.scheduler.nil? || !Zlib.large?(string, #{large})

            Polyphony.elsewhere { super(string.dup, *rest, **options) }
          end
        RUBY
      end

      # @!method crc32(string = nil, sum = 0)
      #   @see ::Zlib.crc32
      #   @note Lets other fibers run while a large string is read.
      # @!method adler32(string = nil, sum = 1)
      #   @see ::Zlib.adler32
      #   @note Lets other fibers run while a large string is read.
      %i[crc32 adler32].each do |name|
        class_eval <<~RUBY, __FILE__, __LINE__ + 1
          def #{name}(*arguments)
            return super unless Polyphony.scheduler && Zlib.large?(arguments.first, SUM) && arguments.size <= 2

            string, *sum = arguments
            Zlib.pieces(string, SUM) { |piece| sum = [super(piece, *sum)] }
            sum.first
          end
        RUBY
      end

      # @api private
      def self.large?(string, limit) = string.is_a?(::String) && string.bytesize >= limit

      # Yields a string piece by piece, and lets others run in between. What becomes of the string meanwhile
      # changes nothing.
      # @api private
      def self.pieces(string, size)
        string = string.dup.force_encoding(::Encoding::BINARY)
        0.step(string.bytesize - 1, size) do |place|
          Polyphony.breathe if place.positive?
          yield string.byteslice(place, size)
        end
      end

      # A stream that compresses.
      #
      # @see ::Zlib::Deflate
      module Deflate
        # @see ::Zlib::Deflate#deflate
        # @note Suspends the calling fiber where the string is large.
        def deflate(string, flush = ::Zlib::NO_FLUSH, &block)
          return super unless Polyphony.scheduler && Zlib.large?(string, LARGE)
          return Polyphony.elsewhere { super(string.dup, flush) } unless block

          Zlib.pieces(string, PIECE) { |piece| super(piece, ::Zlib::NO_FLUSH, &block) }
          super("", flush, &block)
        end

        # @see ::Zlib::Deflate#<<
        # @note Suspends the calling fiber where the string is large.
        def <<(string)
          return super unless Polyphony.scheduler && Zlib.large?(string, LARGE)

          Polyphony.elsewhere { super(string.dup) }
          self
        end

        # Functions of Zlib::Deflate.
        module Singleton
          # @see ::Zlib::Deflate.deflate
          # @note Suspends the calling fiber where the string is large.
          def deflate(string, *rest)
            return super unless Polyphony.scheduler && Zlib.large?(string, LARGE)

            Polyphony.elsewhere { super(string.dup, *rest) }
          end
        end
      end

      # A stream that decompresses.
      #
      # @see ::Zlib::Inflate
      module Inflate
        # @see ::Zlib::Inflate#inflate
        # @note Suspends the calling fiber where the string is large.
        def inflate(string, **options, &block)
          return super unless Polyphony.scheduler && Zlib.large?(string, PACKED)
          return Polyphony.elsewhere { super(string.dup, **options) } unless block

          # Each piece may become a thousand times as much: the block lets others run after each that it is given.
          super(string.dup, **options) do |piece|
            Polyphony.breathe
            yield piece
          end
        end

        # @see ::Zlib::Inflate#<<
        # @note Suspends the calling fiber where the string is large.
        def <<(string)
          return super unless Polyphony.scheduler && Zlib.large?(string, PACKED)

          Polyphony.elsewhere { super(string.dup) }
          self
        end

        # Functions of Zlib::Inflate.
        module Singleton
          # @see ::Zlib::Inflate.inflate
          # @note Suspends the calling fiber where the string is large.
          def inflate(string)
            return super unless Polyphony.scheduler && Zlib.large?(string, PACKED)

            Polyphony.elsewhere { super(string.dup) }
          end
        end
      end

      # A file of gzip's that is written.
      #
      # @see ::Zlib::GzipWriter
      module GzipWriter
        # @see ::Zlib::GzipWriter#initialize
        def initialize(*arguments, **options)
          super
          @__options__ = true unless options.empty? # of encodings: they may convert
        end

        # @see ::Zlib::GzipWriter#write
        # @note Lets other fibers run while a large string is compressed.
        def write(*strings)
          return super unless Polyphony.scheduler && strings.any? { |string| Zlib.large?(string, LARGE) }

          strings.sum { |string| __write_in_pieces__(string) { |piece| super(piece) } }
        end

        # @see ::Zlib::GzipWriter#<<
        # @note Lets other fibers run like {#write}.
        def <<(string)
          return super unless Polyphony.scheduler && Zlib.large?(string, LARGE)

          write(string)
          self
        end

        private

        # What is to be converted first is given in one piece.
        def __write_in_pieces__(string, &write)
          return write.call(string) unless Zlib.large?(string, LARGE) && (!@__options__ || string.encoding == ::Encoding::BINARY)

          Zlib.pieces(string, PIECE, &write)
          string.bytesize
        end
      end

      # A file of gzip's that is read.
      #
      # @see ::Zlib::GzipReader
      module GzipReader
        # @see ::Zlib::GzipReader#initialize
        def initialize(*arguments, **options)
          super
          @__options__ = true unless options.empty? # of encodings: they may convert
        end

        # @see ::Zlib::GzipReader#read
        # @note Lets other fibers run while much is decompressed.
        def read(length = nil, *rest)
          return super unless Polyphony.scheduler && rest.empty? && __in_pieces__?(length)

          whole = ::String.new
          # Ruby judges the footer when it is asked again behind the end, which is for the next call.
          until whole.bytesize == length || (!whole.empty? && eof?)
            piece = super(length ? [PIECE, length - whole.bytesize].min : PIECE) or break
            whole << piece
            Polyphony.breathe
          end
          return length ? nil : whole if whole.empty?

          length ? whole : whole.force_encoding(external_encoding)
        end

        # @see ::Zlib::GzipReader#readlines
        # @note Lets other fibers run like {#read}.
        def readlines(*arguments, **options)
          return super unless Polyphony.scheduler

          lines = []
          each_line(*arguments, **options) do |line|
            lines << line
            Polyphony.breathe if (lines.size % 256).zero?
          end
          lines
        end

        private

        def __in_pieces__?(length)
          return length.is_a?(::Integer) && length > PIECE if length

          !@__options__ && ::Encoding.default_internal.nil?
        end
      end
    end
  end
end
