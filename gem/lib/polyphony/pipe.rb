# frozen_string_literal: true

require_relative "looping"
require_relative "extensions/io/moving"

module Polyphony
  # Both ends of a pipe as one stream: what is written can be read.
  #
  # {#close} closes the end that is written to; what was written before can still be read. A pipe that
  # nobody holds any more is closed by the collector. Neither end is passed on to commands.
  #
  # @example
  #   pipe = Polyphony.pipe
  #   spin { pipe << "hello\n"; pipe.close }
  #   pipe.gets # => "hello\n"
  #   pipe.read # => nil
  class Pipe
    include Looping
    include Extensions::Moving
    include ::Enumerable

    # Something was written to a pipe that is closed, or it was closed twice.
    class ClosedPipeError < ::RuntimeError
      def initialize(message = "the pipe is closed for writing") = super
    end

    def initialize
      Polyphony.scheduler!
      @reader, @writer = ::IO.pipe
    end

    # @return [Array(Integer, Integer)] the descriptors, to read from and to write to
    def fds = [@reader.fileno, @writer.closed? ? nil : @writer.fileno]

    # @return [Boolean] whether the end that is written to is closed
    def closed? = @writer.closed?

    # Closes the end that is written to.
    #
    # @return [Pipe] self
    # @raise [ClosedPipeError] the second time
    def close
      __writer__.close
      self
    end

    # Closes the end that is read from: then writing says Errno::EPIPE.
    #
    # @return [Pipe] self
    def close_read
      @reader.close
      self
    end

    # @see ::IO#read
    # @note Suspends the calling fiber until so many bytes are there, or the end of the stream.
    # @return [String, nil] nil at the end of the stream
    def read(length = nil, buffer = nil, place = 0)
      data = buffer ? @reader.read(length, buffer, place) : @reader.read(*length)
      data if data && !(data.respond_to?(:empty?) && data.empty? && (length.nil? || @reader.eof?))
    end

    # @see ::IO#readpartial
    # @note Suspends the calling fiber until something is there.
    def readpartial(length, buffer = nil, place = 0, raise_on_eof = true)
      return @reader.readpartial(length, buffer || +"", place, raise_on_eof) if buffer || !raise_on_eof

      @reader.readpartial(length)
    end

    # @!method gets(separator = $/, limit = nil, chomp: false)
    #   @see ::IO#gets
    #   @note Suspends the calling fiber until a line, the limit or the end of the stream.
    # @!method getc
    #   @see ::IO#getc
    # @!method getbyte
    #   @see ::IO#getbyte
    # @!method readline(separator = $/, limit = nil, chomp: false)
    #   @see ::IO#readline
    # @!method readlines(separator = $/, limit = nil, chomp: false)
    #   @see ::IO#readlines
    # @!method ungetc(string)
    #   @see ::IO#ungetc
    # @!method ungetbyte(bytes)
    #   @see ::IO#ungetbyte
    # @!method eof?
    #   @see ::IO#eof?
    # @!method read_nonblock(length, buffer = nil, exception: true)
    #   @see ::IO#read_nonblock
    # @!method wait_readable(limit = nil)
    #   @see ::IO#wait_readable
    # @!method readchar
    #   @see ::IO#readchar
    # @!method readbyte
    #   @see ::IO#readbyte
    # @!method sysread(length, buffer = nil)
    #   @see ::IO#sysread
    %i[gets getc getbyte readline readlines readchar readbyte sysread ungetc ungetbyte eof? read_nonblock].each do |name|
      define_method(name) { |*arguments, **options| @reader.public_send(name, *arguments, **options) }
    end

    # Yields every line.
    #
    # @see ::IO#each_line
    # @return [Pipe, Enumerator] self
    def each_line(*arguments, **options, &block)
      return to_enum(:each_line, *arguments, **options) unless block

      @reader.each_line(*arguments, **options, &block)
      self
    end
    alias each each_line

    # Yields every character.
    #
    # @see ::IO#each_char
    # @return [Pipe, Enumerator] self
    def each_char(&block)
      return to_enum(:each_char) unless block

      @reader.each_char(&block)
      self
    end

    # Yields every byte.
    #
    # @see ::IO#each_byte
    # @return [Pipe, Enumerator] self
    def each_byte(&block)
      return to_enum(:each_byte) unless block

      @reader.each_byte(&block)
      self
    end

    # @see ::IO#write
    # @note Suspends the calling fiber until every byte is out.
    # @return [Integer] bytes written
    # @raise [ClosedPipeError] after {#close}
    def write(*strings) = __writer__.write(*strings)

    # @return [Pipe] self
    def <<(string)
      __writer__ << string
      self
    end

    # @see ::IO#puts
    def puts(*lines) = __writer__.puts(*lines)

    # @see ::IO#print
    def print(*things) = __writer__.print(*things)

    # @see ::IO#write_nonblock
    def write_nonblock(string, exception: true) = __writer__.write_nonblock(string, exception: exception)

    # @see ::IO#wait_readable
    # @return [Pipe, nil] self; nil when the time is up
    def wait_readable(limit = nil) = @reader.wait_readable(limit) && self

    # @see ::IO#wait_writable
    # @return [Pipe, nil] self; nil when the time is up
    def wait_writable(limit = nil) = __writer__.wait_writable(limit) && self

    # @return [Symbol] the backend's method for reading
    # @api private
    def __read_method__ = :backend_read

    # @return [Symbol] the backend's method for writing
    # @api private
    def __write_method__ = :backend_write

    # @api private
    def __reader__ = @reader

    # @api private
    def __writer__
      raise ClosedPipeError if @writer.closed?

      @writer
    end
  end

  # A new {Pipe}.
  #
  # @return [Pipe]
  def self.pipe = Pipe.new
end
