# frozen_string_literal: true

module Polyphony
  module Extensions
    module IO
      # `IO.copy_stream` between a file and a stream.
      #
      # Ruby's own waits where the stream does, and holds its thread where the file does, and as long as neither waits.
      # Here it goes by pieces, read and written where the file stands: each waits for disk or stream through the ring.
      # What Ruby holds in a buffer of the file's, or would convert, is left to the original.
      #
      # @api private
      module Copying
        # Bytes that are under way at once.
        PIECE = 128 * 1024
        # fcntl(2): how a file is open.
        GET_FLAGS = 3
        private_constant :PIECE, :GET_FLAGS

        class << self
          # Copies where one of the two is a file and the other a stream.
          #
          # @return [Integer, nil] how many bytes; nil where the original has to do it
          def copy(source, target, length = nil, offset = nil)
            return unless [length, offset].all? { |number| number.nil? || number.is_a?(::Integer) && !number.negative? }

            if file?(source) && stream?(target) && target.sync && plain?(target)
              deliver(source, target, length, offset) unless offset.nil? && Native.buffered?(source)
            elsif stream?(source) && file?(target) && plain?(target) && offset.nil?
              collect(source, target, length)
            end
          end

          private

          def file?(io) = io.is_a?(::File) && !io.closed? && ::IO.instance_method(:stat).bind_call(io).file?

          def stream?(io) = io.is_a?(::IO) && !io.closed? && !::IO.instance_method(:stat).bind_call(io).file?

          # Whether bytes are written as they are.
          def plain?(io) = [nil, ::Encoding::BINARY].include?(io.external_encoding)

          # From a file to a stream. The file stands behind what was delivered, also where something ended that.
          def deliver(file, stream, length, offset)
            start = at = offset || file.pos
            buffer = +""
            stream.flush
            while (size = left(length, at - start)).positive? && file.pread(size, at, buffer)
              stream.write(buffer)
              at += buffer.bytesize
            end
            at - start
          rescue ::EOFError
            at - start
          rescue ::Exception => e
            at += e.bytes_written.to_i if at && e.respond_to?(:bytes_written)
            raise
          ensure
            file.pos = at if at && offset.nil? && !file.closed?
          end

          # From a stream to a file. What was taken and is not in the file is given back.
          def collect(stream, file, length)
            start = at = file.tap(&:flush).pos
            while (size = left(length, at - start)).positive? && (piece = stream.readpartial(size))
              at += put(piece, file, at) until piece.empty?
            end
            at - start
          rescue ::EOFError
            at - start
          ensure
            stream.ungetbyte(piece) unless piece.nil? || piece.empty? || stream.closed?
            leave(file, at) if at && !file.closed?
          end

          # Where a write would have left the file.
          def leave(file, at)
            appends = file.fcntl(GET_FLAGS).anybits?(::File::APPEND)
            appends ? file.seek(0, ::IO::SEEK_END) : file.pos = at
          end

          # Writes a part of the piece, and takes it away from it.
          def put(piece, file, at)
            file.pwrite(piece, at).tap { |written| piece.replace(piece.byteslice(written..)) }
          end

          def left(length, done) = [length ? length - done : PIECE, PIECE].min
        end
      end
    end
  end
end
