# frozen_string_literal: true

module Polyphony
  module Extensions
    # Compressing and decompressing large strings in one call.
    #
    # Zlib works without Ruby's lock, but in the thread that asked: a large string is worked on in a thread that
    # runs no fibers. A small one takes less time than that costs.
    module Zlib
      # Bytes from which another thread is worth it: zlib takes more than ten times as long as handing them over.
      LARGE = 64 * 1024
      # Seconds between turns of that thread, which needs Ruby's lock for every few KB that come out.
      PAUSE = 0.001

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
      %i[deflate inflate gzip gunzip].each do |name|
        define_method(name) do |*arguments, **options|
          next super(*arguments, **options) unless Polyphony.scheduler && Zlib.large?(arguments.first)

          # A copy, which shares the bytes: others may change theirs meanwhile.
          string, *rest = arguments
          Polyphony.elsewhere(pause: PAUSE) { super(string.dup, *rest, **options) }
        end
      end

      # @api private
      def self.large?(string) = string.is_a?(::String) && string.bytesize >= LARGE
    end
  end
end
