# frozen_string_literal: true

require_relative "../../looping"

module Polyphony
  # Memory of a fixed size, for reading into without making strings.
  #
  # What was a bare pointer in Polyphony 1 is an object here: it cannot outlive its bytes, and every length
  # is checked.
  #
  # @see Polyphony.__with_raw_buffer__
  class RawBuffer
    # @return [Integer] bytes that it holds at most
    attr_reader :capacity

    # @param capacity [Integer]
    def initialize(capacity)
      raise ::ArgumentError, "a buffer cannot hold #{capacity} bytes" unless capacity.is_a?(::Integer) && !capacity.negative?

      @capacity = capacity
      @bytes = ::String.new(capacity: capacity)
    end

    # @return [Integer] bytes that it holds
    def size = @bytes.bytesize

    # @return [String] a copy of the bytes, or of the first `length`
    def to_s(length = size) = @bytes.byteslice(0, length)

    # Makes the bytes these.
    # @raise [RuntimeError] where they are too many
    # @return [self]
    def replace(string)
      raise "string too long for raw buffer" if string.bytesize > @capacity

      @bytes.replace(string.b)
      self
    end

    # Puts bytes at a place, and ends there.
    # @api private
    def put(string, place)
      kept = place.negative? ? @bytes : @bytes.byteslice(0, place)
      replace(kept + string.b)
    end
  end

  module Extensions
    module IO
      # Reading into a place of a buffer: the call forms that only Polyphony has.
      #
      #     io.read(3, buffer, -1)           # appends
      #     io.read(3, buffer, 2)            # from byte 2 on; the buffer ends after what was read
      #     io.readpartial(3, buffer, 0, false)  # nil at the end of the stream
      module Buffers
        # @return [Symbol] the backend's method for reading
        # @api private
        def __read_method__ = :backend_read

        # @return [Symbol] the backend's method for writing
        # @api private
        def __write_method__ = :backend_write

        private

        # `read(length, buffer, place)`.
        def __read_at__(length, buffer, place = 0)
          Buffers.check(buffer)
          Polyphony.scheduler!
          length = [length, Buffers.room(buffer, place)].compact.min
          Buffers.place(buffer, place, length ? read(length) : read)
        end

        # `readpartial(length, buffer, place, raise_on_eof)`.
        def __readpartial_at__(length, buffer, place = 0, raise_on_eof = true)
          Buffers.check(buffer)
          Polyphony.scheduler!
          length = [length, Buffers.room(buffer, place)].compact.min
          Buffers.place(buffer, place, raise_on_eof ? readpartial(length) : __piece__(length))
        end

        # The next piece, in the encoding of the IO, as every loop yields it.
        def __piece__(maxlen)
          data = super
          return data unless data.is_a?(::String)

          data.force_encoding(external_encoding || ::Encoding.default_external)
        end

        class << self
          # Refuses what cannot be changed, or is no buffer, before anything is taken.
          # @api private
          def check(buffer)
            unless buffer.nil? || buffer.is_a?(::String) || buffer.is_a?(RawBuffer) || buffer.respond_to?(:set_string)
              raise ::TypeError, "no implicit conversion of #{buffer.class} into String"
            end

            raise ::FrozenError, "can't modify frozen String: #{buffer.inspect}" if buffer.is_a?(::String) && buffer.frozen?
          end

          # How many bytes there is room for; nil where a buffer grows.
          # @api private
          def room(buffer, place)
            case buffer
            when ::String, nil then nil
            when RawBuffer then buffer.capacity - (place.negative? ? buffer.size : place)
            else buffer.size - [place, 0].max
            end
          end

          # Puts what was read where it belongs.
          #
          # @return [String, Integer, nil] a String buffer; of memory the count of bytes; nil at the end
          # @api private
          def place(buffer, place, data)
            return data unless data.is_a?(::String) || data.nil?

            case buffer
            when ::String then cut(buffer, place, data)
            when RawBuffer then data && buffer.put(data, place) && data.bytesize
            when nil then data
            else data && buffer.set_string(data, [place, 0].max) && data.bytesize
            end
          end

          private

          def cut(buffer, place, data)
            place = buffer.bytesize if place.negative?
            buffer.replace(buffer.byteslice(0, place)) if place < buffer.bytesize
            buffer << data.force_encoding(buffer.encoding) if data
          end
        end
      end

      include Looping
      include Buffers
    end
  end

  # Yields memory of so many bytes to read into: `io.read(64, buffer)` is then the count of bytes.
  #
  # @param size [Integer]
  # @yieldparam buffer [RawBuffer]
  # @return [Object] what the block returned
  def self.__with_raw_buffer__(size) = yield(RawBuffer.new(size))

  # @return [RawBuffer]
  # @raise [RuntimeError] where the string is too long
  def self.__raw_buffer_set__(buffer, string) = buffer.replace(string)

  # @return [String]
  def self.__raw_buffer_get__(buffer, length = buffer.size) = buffer.to_s(length)

  # @return [Integer] bytes that the buffer has room for
  def self.__raw_buffer_size__(buffer) = buffer.capacity
end
