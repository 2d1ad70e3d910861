# frozen_string_literal: true

module Polyphony
  # `IO.gzip` and its kin: from a source to a destination, a piece at a time.
  #
  # A source is a String, whatever answers `readpartial` or `read` (IO, {Pipe}, StringIO …), or whatever
  # answers `call` with the next piece and nil at the end; it may take how much is asked for. A destination is
  # a String that is appended to, or whatever answers `write` or `call`. What is truncated or damaged raises Zlib's own errors.
  #
  # A String keeps its encoding. `Zlib.gunzip` misreads bytes that are marked as text, so give a binary one to what it is
  # to read: `"".b`.
  #
  # Zlib lets go of Ruby's lock while it works; between two pieces of a String other fibers run.
  module Compression
    # Bytes that are asked for at once.
    PIECE = 64 * 1024
    # Of the header: a name follows, a comment follows; the system is Unix.
    NAME = 8
    COMMENT = 16
    UNIX = 3
    # Added to the size of the window: zlib then writes a header that tells nothing, and reckons the checksum.
    GZIP = 16
    BARE_HEADER = 10
    private_constant :PIECE, :NAME, :COMMENT, :UNIX, :GZIP, :BARE_HEADER

    # Compresses in the format of gzip(1).
    #
    # @note Suspends the calling fiber while the source has nothing, or the destination has no room.
    # @param source [Object]
    # @param destination [Object]
    # @param options [Hash]
    # @option options [Time, Integer, false, nil] :mtime when the source was changed; by default now, false
    #   for not telling
    # @option options [String] :orig_name
    # @option options [String] :comment
    # @return [Integer] bytes written
    # @example
    #   File.open("log") { |log| IO.gzip(log, socket, orig_name: "log") }
    def gzip(source, destination, options = {})
      Compression.load
      sink = Sink.new(destination)
      sink.write(Compression.header(**options))
      Compression.deflate(Source.new(source), Behind.new(BARE_HEADER, sink), ::Zlib::MAX_WBITS + GZIP)
      sink.finish
    end

    # Decompresses what gzip(1) makes, also several such files in a row; length and checksum are verified.
    #
    # @note Suspends the calling fiber while the source has nothing, or the destination has no room.
    # @param info [Hash, nil] is told `:mtime` (Time), `:orig_name` and `:comment` (nil where there is none)
    # @return [Integer] bytes written
    # @raise [Zlib::Error]
    def gunzip(source, destination, info = nil)
      Compression.load
      source = Source.new(source)
      sink = Sink.new(destination)
      Compression.member(source, sink, info)
      Compression.member(source, sink, nil) while source.another?
      sink.finish
    end

    # Compresses in the format of zlib.
    #
    # @note Suspends the calling fiber while the source has nothing, or the destination has no room.
    # @return [Integer] bytes written
    def deflate(source, destination)
      Compression.load
      sink = Sink.new(destination)
      Compression.deflate(Source.new(source), sink, ::Zlib::MAX_WBITS)
      sink.finish
    end

    # Decompresses the format of zlib; the checksum is verified.
    #
    # @note Suspends the calling fiber while the source has nothing, or the destination has no room.
    # @return [Integer] bytes written
    # @raise [Zlib::Error]
    def inflate(source, destination)
      Compression.load
      sink = Sink.new(destination)
      source = Source.new(source)
      Compression.with(::Zlib::Inflate.new) do |stream|
        stream.inflate(source.piece) { |piece| sink.write(piece) } until stream.finished? || source.ended?
        stream.finish # says Zlib::BufError where the end is missing
      end
      sink.finish
    end

    class << self
      # @api private
      def load
        require "zlib"
      end

      # @api private
      def header(mtime: nil, orig_name: nil, comment: nil)
        flags = (orig_name ? NAME : 0) | (comment ? COMMENT : 0)
        head = [0x1f, 0x8b, 8, flags, mtime == false ? 0 : (mtime || ::Time.now).to_i, 0, UNIX].pack("C4VCC")
        [orig_name, comment].compact.each { |text| head << text.b[/\A[^\0]*/n] << "\0" }
        head
      end

      # Compresses.
      # @api private
      def deflate(source, sink, window)
        with(::Zlib::Deflate.new(::Zlib::DEFAULT_COMPRESSION, window)) do |stream|
          source.lend { |piece| sink.write(stream.deflate(piece)) } until source.ended?
          sink.write(stream.finish)
        end
      end

      # One of the files in a row.
      # @api private
      def member(source, sink, info)
        reader = ::Zlib::GzipReader.new(source)
        info&.update(mtime: reader.mtime, orig_name: text(reader.orig_name), comment: text(reader.comment))
        while (piece = next_piece(reader))
          sink.write(piece)
        end
        source.give_back(reader.unused)
        reader.finish
      rescue ::Exception # rubocop:disable Lint/RescueException
        reader&.rewind # one that is left in the middle would complain
        reader&.finish
        raise
      end

      # @api private
      def with(stream)
        yield stream
      ensure
        stream.reset unless stream.finished? # one that is left in the middle would complain
        stream.close
      end

      private

      def next_piece(reader)
        reader.readpartial(PIECE)
      rescue ::EOFError
        nil
      end

      def text(field) = field.nil? || field.empty? ? nil : field
    end

    # Where bytes come from.
    #
    # @api private
    class Source
      def initialize(given)
        @given = given
        @early = +""
        @place = 0
        @ended = false
        @next = reader
      end

      # Whether everything was taken.
      def ended?
        @early = take || (@ended = true; "") if @early.empty? && !@ended
        @ended && @early.empty?
      end

      # What is there next; only where the source has not ended.
      def piece
        return "" if ended?

        piece = @early
        @early = +""
        piece
      end

      # Yields what is there next. A slice of a String is nobody else's: its memory is given back at once, so that
      # the next one finds it warm.
      def lend
        lent = piece
        yield lent
        lent.clear if @given.is_a?(::String)
      end

      # What was taken and not needed.
      def give_back(bytes)
        @early = bytes + @early if bytes
      end

      # Whether another file follows; zeros behind the last one are padding.
      def another?
        @early = piece.sub(/\A\0+/n, "") while !ended? && @early.start_with?("\0")
        !ended?
      end

      # What Zlib::GzipReader calls.
      def readpartial(_length, buffer = nil)
        raise ::EOFError, "end of file reached" if ended?

        buffer ? buffer.replace(piece) : piece
      end

      # What Zlib::GzipReader calls when it is reset, which is at its end.
      def seek(*) = nil

      private

      def take
        piece = @next.call
        piece = @next.call while piece && piece.empty?
        # It may be somebody's: what is bytes already is taken as it is, and never changed.
        piece.nil? || piece.encoding == ::Encoding::BINARY ? piece : piece.b
      end

      def reader
        return method(:slice) if @given.is_a?(::String)
        return -> { @given.readpartial(PIECE) rescue end_of_file($!) } if @given.respond_to?(:readpartial) # rubocop:disable Style/RescueModifier
        return -> { @given.read(PIECE) } if @given.respond_to?(:read)
        return called if @given.respond_to?(:call)

        raise ::TypeError, "cannot read from #{@given.class}"
      end

      # One that has parameters is told how much is asked for, as `read` is.
      def called
        (@given.is_a?(::Proc) ? @given : @given.method(:call)).arity.zero? ? @given : -> { @given.call(PIECE) }
      end

      def end_of_file(error)
        raise error unless error.is_a?(::EOFError)
      end

      def slice
        piece = @given.byteslice(@place, PIECE)
        @place += PIECE
        Polyphony.scheduler && ::Kernel.instance_method(:snooze).bind_call(self)
        piece.force_encoding(::Encoding::BINARY) unless piece.nil? || piece.empty?
      end
    end

    # What passes on all but the first so many bytes.
    #
    # @api private
    class Behind
      def initialize(bytes, sink)
        @left = bytes
        @sink = sink
      end

      def write(bytes)
        return @sink.write(bytes) if @left.zero?

        skipped = [@left, bytes.bytesize].min
        @left -= skipped
        @sink.write(bytes.byteslice(skipped, bytes.bytesize))
      end
    end

    # Where bytes go.
    #
    # @api private
    class Sink
      # @return [Integer] bytes written
      attr_reader :count

      def initialize(given)
        raise ::FrozenError, "can't modify frozen String: #{given.inspect}" if given.is_a?(::String) && given.frozen?

        @given = given
        @count = 0
        @way = given.is_a?(::String) ? :<< : %i[write call].find { |name| given.respond_to?(name) }
        raise ::TypeError, "cannot write to #{given.class}" unless @way
      end

      def write(bytes)
        return if bytes.empty?

        bytes = bytes.dup.force_encoding(@given.encoding) if @given.is_a?(::String)
        @given.public_send(@way, bytes)
        @count += bytes.bytesize
      end

      # @return [Integer] bytes written, none of which is left in a file's buffer
      def finish
        Extensions::Moving.write_out(@given)
        @count
      end
    end

  end

  module Extensions
    module IO
      module Singleton
        include Compression
      end
    end
  end
end
