# frozen_string_literal: true

module Polyphony
  module Extensions
    # Moving bytes between descriptors inside the kernel, for IO and for {Pipe}.
    #
    # What Ruby holds in its read buffer goes first. A move that is cancelled loses nothing: what was taken
    # and not delivered is given back to the source. What is no descriptor (a TLS connection, a StringIO) or
    # cannot be spliced is read and written instead.
    module Moving
      # What a pipe holds, and a piece that is read.
      CHUNK = 64 * 1024
      # The most that a pipe can be made to hold without a privilege; each operation costs a change of threads.
      MOST = 1024 * 1024
      # fcntl(2): makes a pipe hold so much.
      SET_SIZE = 1031
      # The most that one call may ask for.
      GREATEST = 1 << 30
      private_constant :CHUNK, :MOST, :SET_SIZE, :GREATEST

      # Moves bytes here from a source; one of the two has to be a pipe.
      #
      # @note Suspends the calling fiber until something could be moved.
      # @param source [IO, Pipe, Integer]
      # @param maxlen [Integer] the most to move; where negative, everything is moved, so much at once
      # @return [Integer] bytes moved; 0 at the end of the source
      # @raise [Errno::EINVAL] where neither is a pipe
      def splice_from(source, maxlen) = Moving.splice(source, self, maxlen)

      # Copies bytes here from a pipe, and leaves them there; both have to be pipes.
      #
      # @note Suspends the calling fiber until something is there.
      # @param source [IO, Pipe, Integer]
      # @param maxlen [Integer] the most to copy
      # @return [Integer] bytes copied; 0 at the end of the source
      def tee_from(source, maxlen) = Moving.tee(source, self, maxlen)

      # `IO.splice` and its kin.
      module Singleton
        # @see Moving#splice_from
        def splice(source, target, maxlen) = Moving.splice(source, target, maxlen)

        # @see Moving#tee_from
        def tee(source, target, maxlen) = Moving.tee(source, target, maxlen)

        # Moves everything from one IO to another through a pipe of its own; neither has to be one.
        #
        # @note Suspends the calling fiber until the source has ended.
        # @return [Integer] bytes moved
        # @raise [Errno::EPIPE] where nobody reads the target any more
        def double_splice(source, target) = Moving.through(source, target)

        # Sends a source as the body of an HTTP/1.1 message in chunks, the last one empty.
        #
        # @note Suspends the calling fiber until the source has ended.
        # @param maxlen [Integer] the most that goes into one chunk
        # @return [IO] the target
        def http1_splice_chunked(source, target, maxlen = CHUNK)
          Moving.chunks(source, maxlen) do |size, pass_on|
            target << "#{size.to_s(16)}\r\n"
            pass_on.call(target)
            target << "\r\n"
          end
          target << "0\r\n\r\n"
          Moving.write_out(target)
          target
        end
      end

      class << self
        # Leaves nothing of what was moved into a file in its buffer.
        # @api private
        def write_out(target)
          target.flush if target.is_a?(::IO) || (defined?(::Tempfile) && target.is_a?(::Tempfile))
        end

        # @api private
        def splice(source, target, maxlen)
          maxlen = length(maxlen)
          return once(source, target, maxlen) unless maxlen.negative?

          total = 0
          until (moved = once(source, target, -maxlen)) == 0 # rubocop:disable Style/NumericPredicate
            return moved unless moved.is_a?(::Integer) # somebody scheduled the fiber with it

            total += moved
          end
          total
        end

        # @api private
        def tee(source, target, maxlen)
          maxlen = length(maxlen)
          raise ::ArgumentError, "tee leaves the bytes in the pipe: no length is the end of it" if maxlen.negative?

          source, target = ends(source, target)
          return 0 if maxlen.zero?

          if (early = buffered(source, maxlen))
            source.ungetbyte(early)
            return target.write(early)
          end
          Native.tee(source, target, maxlen)
        end

        # @api private
        def through(source, target)
          source, target = ends(source, target)
          total = 0
          chunks(source, MOST) do |size, pass_on|
            pass_on.call(target)
            total += size
          end
          total
        end

        # Yields the size of each piece of a source, and what passes the piece on.
        # @api private
        def chunks(source, maxlen)
          maxlen = length(maxlen)
          raise ::ArgumentError, "a piece of #{maxlen} bytes is none" unless maxlen.positive?

          source = source_of(source)
          Polyphony.scheduler!
          outlet, inlet = pipe(maxlen)
          begin
            while (size = take(source, inlet, outlet, maxlen))
              yield size, ->(target) { pass(outlet, target_of(target), size) }
            end
          ensure
            inlet.close
            give_back(outlet, source)
            outlet.close
          end
        end

        private

        # A length as a number that the kernel takes.
        def length(maxlen) = ::Kernel.Integer(maxlen).clamp(-GREATEST, GREATEST)

        def once(source, target, maxlen)
          source, target = ends(source, target)
          return 0 if maxlen.zero?

          data = plain?(source) ? buffered(source, maxlen) : piece(source, maxlen)
          return target.write(data) if data
          return 0 unless plain?(source)
          return Native.splice(source, target, maxlen) if plain?(target)

          (data = piece(source, maxlen)) ? target.write(data) : 0
        end

        def ends(source, target)
          Polyphony.scheduler!
          source = source_of(source)
          target = target_of(target)
          target.flush if target.respond_to?(:flush)
          [source, target]
        end

        # A pipe that holds so much, or what one may have.
        def pipe(maxlen)
          ends = ::IO.pipe
          ends.last.fcntl(SET_SIZE, [maxlen, MOST].min) if maxlen > CHUNK
          ends
        rescue ::Errno::EPERM # this user has as much in pipes as one may
          ends
        end

        # Brings a piece into the pipe; its size, or nil at the end of the source.
        def take(source, inlet, outlet, maxlen)
          data = plain?(source) ? buffered(source, maxlen) : piece(source, maxlen)
          return data.bytesize.tap { outlet.ungetbyte(data) } if data
          return unless plain?(source)

          size = Native.splice(source, inlet, maxlen)
          size if size.is_a?(::Integer) && size.positive? # else somebody scheduled the fiber: enough
        rescue ::Errno::EINVAL # what cannot be spliced can be read
          data = piece(source, maxlen)
          data&.bytesize.tap { outlet.ungetbyte(data) if data }
        end

        # Passes so many bytes of the pipe on.
        def pass(outlet, target, size)
          target.flush if target.respond_to?(:flush)
          while size.positive?
            data = plain?(target) ? buffered(outlet, size) : outlet.readpartial(size)
            moved = data ? target.write(data) : Native.splice(outlet, target, size)
            size -= moved if moved.is_a?(::Integer)
          end
        rescue ::Errno::EINVAL # what cannot be spliced to can be written to
          while size.positive?
            size -= target.write(outlet.readpartial(size))
          end
        end

        # What a source has, by its own way of reading; nil at its end.
        def piece(source, maxlen)
          source.readpartial([maxlen, CHUNK].min)
        rescue ::EOFError
          nil
        end

        # Whether it is no more than its descriptor.
        def plain?(io) = io.is_a?(::IO)

        # A piece of what Ruby holds of a source; nil where that is nothing.
        def buffered(source, maxlen)
          return if !Native.buffered?(source) || maxlen.zero?

          source.read_nonblock([maxlen, CHUNK].min)
        end

        # What was taken and not passed on.
        def give_back(outlet, source)
          rest = +""
          while (more = outlet.read_nonblock(MOST, exception: false)).is_a?(::String)
            rest << more
          end
          return if rest.empty? || source.closed?

          source.respond_to?(:ungetbyte) ? source.ungetbyte(rest) : source.ungetc(rest)
        end

        def source_of(io)
          return io.__reader__ if io.is_a?(Pipe)

          io.is_a?(::Integer) ? ::IO.for_fd(io, "r", autoclose: false) : io_of(io)
        end

        def target_of(io)
          return io.__writer__ if io.is_a?(Pipe)

          io.is_a?(::Integer) ? ::IO.for_fd(io, "w", autoclose: false) : io_of(io)
        end

        def io_of(io)
          # What reads and writes in its own way has more to say than its descriptor.
          return io if plain?(io) || io.respond_to?(:readpartial)

          ::IO.try_convert(io) or raise ::TypeError, "no implicit conversion of #{io.class} into IO"
        end
      end
    end

    module IO
      include Moving

      module Singleton
        include Moving::Singleton
      end
    end
  end
end
