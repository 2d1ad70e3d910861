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
  # What is worked on is a snapshot: a String that is changed meanwhile changes nothing. A large piece is worked on
  # without Ruby's lock, and between two pieces other fibers run.
  module Compression
    # Bytes that are asked for at once.
    PIECE = 64 * 1024
    # Of the header: a checksum of it, more fields, a name and a comment follow; what Ruby does not know.
    SUM = 2
    MORE = 4
    NAME = 8
    COMMENT = 16
    SECRET = 32
    UNKNOWN = 192
    # The system that made it is Unix.
    UNIX = 3
    private_constant :PIECE, :SUM, :MORE, :NAME, :COMMENT, :SECRET, :UNKNOWN, :UNIX

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
      Compression.with(Native::Deflation.deflate(true)) do |stream|
        Compression.pack(stream, Source.new(source), sink)
        sink.write([stream.sum, stream.length].pack("VV"))
      end
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
      Compression.with(Native::Deflation.deflate(false)) { |stream| Compression.pack(stream, Source.new(source), sink) }
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
      Compression.with(Native::Deflation.inflate(false)) do |stream|
        Compression.pass(stream, Source.new(source), sink)
        raise ::Zlib::BufError, "buffer error" unless stream.finished?
      end
      sink.finish
    end

    class << self
      # Whoever rescues what is damaged names its classes.
      # @api private
      def load
        require "zlib" unless defined?(::Zlib::GzipFile)
      end

      # @api private
      def header(mtime: nil, orig_name: nil, comment: nil)
        flags = (orig_name ? NAME : 0) | (comment ? COMMENT : 0)
        head = [0x1f, 0x8b, 8, flags, mtime == false ? 0 : (mtime || ::Time.now).to_i, 0, UNIX].pack("C4VCC")
        [orig_name, comment].compact.each { |text| head << text.b[/\A[^\0]*/n] << "\0" }
        head
      end

      # Compresses all of a source.
      # @api private
      def pack(stream, source, sink)
        pass(stream, source, sink)
        sink.write(stream.finish) until stream.finished?
      end

      # Gives a stream what it takes, and passes on what comes out; others run in between.
      # @api private
      def pass(stream, source, sink)
        until stream.finished? || (stream.hungry? && source.ended?)
          sink.write(source.feed(stream))
          Polyphony.breathe unless stream.finished? || (stream.hungry? && source.empty?)
        end
      end

      # One of the files in a row.
      # @api private
      def member(source, sink, info)
        fields = fields(source)
        info&.update(fields)
        with(Native::Deflation.inflate(true)) do |stream|
          pass(stream, source, sink)
          stream.finished? ? check(stream, source) : end_too_early
        end
      end

      # @api private
      def with(stream)
        yield stream
      ensure
        stream.close # its memory is large
      end

      private

      # What a header tells.
      def fields(source)
        head = source.read(10)
        refuse("not in gzip format", head + source.rest) unless head.bytesize == 10 && head.start_with?("\x1f\x8b".b)
        method, flags, time = head.unpack("x2CCV")
        why = strange(method, flags)
        raise ::Zlib::GzipFile::Error, why if why

        exactly(source, exactly(source, 2).unpack1("v")) if flags.anybits?(MORE)
        name, comment = [NAME, COMMENT].map { |flag| flags.anybits?(flag) ? line(source) : nil }
        { mtime: ::Time.at(time), orig_name: name, comment: comment }
      end

      # Why Ruby does not read what such a header announces.
      def strange(method, flags)
        return "unsupported compression method #{method}" unless method == 8
        return "multi-part gzip file is not supported" if flags.anybits?(SUM)
        return "encrypted gzip file is not supported" if flags.anybits?(SECRET)

        format("unknown flags 0x%02x", flags) if flags.anybits?(UNKNOWN)
      end

      def exactly(source, count)
        bytes = source.read(count)
        bytes.bytesize == count ? bytes : end_too_early
      end

      # A field that a zero ends; nil where it is empty.
      def line(source)
        line = source.read_to_zero || end_too_early
        line unless line.empty?
      end

      def end_too_early
        raise ::Zlib::GzipFile::Error, "unexpected end of file"
      end

      # Judges the footer.
      def check(stream, source)
        footer = source.read(8)
        refuse("footer is not found", footer, ::Zlib::GzipFile::NoFooter) if footer.bytesize < 8
        sum, length = footer.unpack("VV")
        raise ::Zlib::GzipFile::CRCError, "invalid compressed data -- crc error" unless sum == stream.sum
        raise ::Zlib::GzipFile::LengthError, "invalid compressed data -- length error" unless length == stream.length
      end

      # Raises an error that tells, as Ruby's does, what was there instead.
      def refuse(message, input, error = ::Zlib::GzipFile::Error)
        raise error.new(message).tap { |it| it.instance_variable_set(:@input, input) unless input.empty? }
      end
    end

    # Where bytes come from: pieces, and a place in the one at hand.
    #
    # @api private
    class Source
      def initialize(given)
        @next = reader(given)
        @piece = ""
        @place = 0
        @ended = false
      end

      # Whether all that is at hand was taken.
      def empty? = @place >= @piece.bytesize

      # Whether everything was taken.
      def ended?
        fetch if empty? && !@ended
        @ended
      end

      # Lends a stream what is at hand; what came out of it.
      def feed(stream)
        made = stream.run(@piece, @place)
        @place = stream.place
        made
      end

      # What is at hand.
      def rest = @piece.byteslice(@place..)

      # So many bytes; fewer where it ends before.
      def read(count)
        taken = ::String.new
        taken << cut(count - taken.bytesize) until taken.bytesize == count || ended?
        taken
      end

      # What stands before the next zero, which is taken, too; nil where there is none.
      def read_to_zero
        taken = ::String.new
        until ended?
          zero = @piece.index("\0", @place)
          taken << cut((zero || @piece.bytesize) - @place)
          next unless zero

          @place += 1
          return taken
        end
      end

      # Whether another file follows; zeros behind the last one are padding.
      def another?
        @place += 1 until ended? || !@piece.getbyte(@place).zero?
        !@ended
      end

      private

      def cut(count)
        part = @piece.byteslice(@place, count)
        @place += part.bytesize
        part
      end

      # Nobody is asked again who has said that there is no more.
      def fetch
        piece = @next.call
        piece = @next.call while piece && piece.empty?
        @ended = piece.nil?
        @piece = piece&.b || ""
        @place = 0
      end

      def reader(given)
        return [given.dup].method(:shift) if given.is_a?(::String)
        return -> { given.readpartial(PIECE) rescue end_of_file($!) } if given.respond_to?(:readpartial) # rubocop:disable Style/RescueModifier
        return -> { given.read(PIECE) } if given.respond_to?(:read)
        return called(given) if given.respond_to?(:call)

        raise ::TypeError, "cannot read from #{given.class}"
      end

      # One that has parameters is told how much is asked for, as `read` is.
      def called(given)
        (given.is_a?(::Proc) ? given : given.method(:call)).arity.zero? ? given : -> { given.call(PIECE) }
      end

      def end_of_file(error)
        raise error unless error.is_a?(::EOFError)
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

        bytes.force_encoding(@given.encoding) if @given.is_a?(::String)
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
