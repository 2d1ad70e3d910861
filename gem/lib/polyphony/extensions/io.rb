# frozen_string_literal: true

module Polyphony
  module Extensions
    # What IO does where a scheduler runs. The methods that read and write are Rust; what is made of them
    # is here.
    #
    # @!method read(length = nil, buffer = nil)
    #   @see ::IO#read
    #   @note Suspends the calling fiber until so many bytes are there, or the end of the stream.
    # @!method gets(separator = $/, limit = nil, chomp: false)
    #   @see ::IO#gets
    #   @note Suspends the calling fiber until a line, the limit or the end of the stream.
    # @!method readpartial(length, buffer = nil)
    #   @see ::IO#readpartial
    #   @note Suspends the calling fiber until something is there.
    # @!method write(*strings)
    #   @see ::IO#write
    #   @note Suspends the calling fiber until every byte is out, where Ruby would not buffer.
    # @!method close
    #   @see ::IO#close
    #   @note Whoever waits on the IO gets the IOError that stock Ruby gives; suspends until what is buffered
    #     is out and they have let go.
    #   A close that is cancelled while what is buffered is written leaves the IO open, with the rest.
    # @!method close_write
    #   @see ::IO#close_write
    #   @note Suspends the calling fiber until what is buffered is out.
    # @!method readline(separator = $/, limit = nil, chomp: false)
    #   @see ::IO#readline
    #   @note Suspends like {#gets}.
    # @!method sysread(length, buffer = nil)
    #   @see ::IO#sysread
    #   @note Suspends like {#readpartial}.
    # @!method getc
    #   @see ::IO#getc
    #   @note Suspends the calling fiber until a whole character, or the end of the stream.
    # @!method readchar
    #   @see ::IO#readchar
    #   @note Suspends like {#getc}.
    # @!method getbyte
    #   @see ::IO#getbyte
    #   @note Suspends the calling fiber until a byte, or the end of the stream.
    # @!method readbyte
    #   @see ::IO#readbyte
    #   @note Suspends like {#getbyte}.
    # @!method eof?
    #   @see ::IO#eof?
    #   @note Suspends the calling fiber until something is there, or the end of the stream.
    # @!method eof
    #   @see #eof?
    # @!method wait_readable(limit = nil)
    #   @see ::IO#wait_readable
    #   @note Suspends the calling fiber until something can be read, or the time is up.
    # @!method wait_writable(limit = nil)
    #   @see ::IO#wait_writable
    #   @note Suspends the calling fiber until something can be written, or the time is up.
    # @!method syswrite(string)
    #   @see ::IO#syswrite
    #   @note Suspends the calling fiber until the kernel has taken something.
    # @!method flush
    #   @see ::IO#flush
    #   @note Suspends the calling fiber until what is buffered is out; one that is cancelled leaves the rest there.
    # @!method pos
    #   @see ::IO#pos
    #   @note Suspends like {#flush}.
    # @!method tell
    #   @see #pos
    # @!method pos=(position)
    #   @see ::IO#pos=
    #   @note Suspends like {#flush}.
    # @!method seek(offset, whence = IO::SEEK_SET)
    #   @see ::IO#seek
    #   @note Suspends like {#flush}.
    # @!method rewind
    #   @see ::IO#rewind
    #   @note Suspends like {#flush}.
    # @!method fsync
    #   @see ::IO#fsync
    #   @note Suspends the calling fiber until the disk has everything.
    # @!method fdatasync
    #   @see ::IO#fdatasync
    #   @note Suspends like {#fsync}.
    # @!method pread(length, offset, buffer = nil)
    #   @see ::IO#pread
    #   @note Suspends the calling fiber where the disk is to be asked, and between large pieces.
    # @!method pwrite(string, offset)
    #   @see ::IO#pwrite
    #   @note Suspends the calling fiber where the string is large.
    module IO
      # @see ::IO#wait
      # @note Suspends the calling fiber until the IO is ready, or the time is up.
      def wait(...) = Polyphony.aside { super }

      # @see ::IO#wait_priority
      # @note Suspends the calling fiber like {#wait}.
      def wait_priority(...) = Polyphony.aside { super }

      # @see ::IO#reopen
      # @note Suspends the calling fiber until what is buffered is out.
      def reopen(...)
        flush unless Polyphony.scheduler.nil? || closed?
        super
      end

      # Calls a method in a fiber that Ruby's own scheduler interface serves.
      # @api private
      def __aside__(method, arguments) = Polyphony.aside { __send__(method, *arguments) }

      # @see ::IO#each_line
      # @note Suspends the calling fiber like {#gets}, for each line.
      def each_line(*args, **options)
        return super unless Polyphony.scheduler
        return to_enum(:each_line, *args, **options) unless block_given?

        return super if Looping.limits_to_nothing?(args.last) # which says what is wrong, and first of all with the rest
        while (line = gets(*args, **options))
          yield line
        end
        self
      end
      alias each each_line

      # @see ::IO#readlines
      # @note Suspends the calling fiber until the end of the stream.
      def readlines(*args, **options)
        return super if Polyphony.scheduler.nil? || Looping.limits_to_nothing?(args.last)

        each_line(*args, **options).to_a
      end

      # @see ::IO#each_byte
      # @note Suspends the calling fiber like {#getbyte}, for each byte.
      def each_byte
        return super unless Polyphony.scheduler
        return to_enum(:each_byte) unless block_given?

        while (byte = getbyte)
          yield byte
        end
        self
      end

      # @see ::IO#each_char
      # @note Suspends the calling fiber like {#getc}, for each character.
      def each_char
        return super unless Polyphony.scheduler
        return to_enum(:each_char) unless block_given?

        while (char = getc)
          yield char
        end
        self
      end

      # @see ::IO#each_codepoint
      # @note Suspends the calling fiber like {#getc}, for each character.
      def each_codepoint
        return super unless Polyphony.scheduler
        return to_enum(:each_codepoint) unless block_given?

        while (char = getc)
          code = begin
            char.ord
          rescue ::ArgumentError # what is no character stays, or goes, as the original has it
            ungetc(char)
            return super
          end
          yield code
        end
        self
      end

      # `IO.copy_stream` and `IO.select`.
      module Singleton
        # @note Suspends the calling fiber until everything is copied.
        def copy_stream(*arguments)
          return super unless Polyphony.scheduler
          # The kernel copies between files, and some share the blocks: that is Ruby's own call, in another thread.
          return Polyphony.elsewhere { super } if Files.copies?(*arguments)

          Copying.copy(*arguments) || Polyphony.aside { super }
        end

        # @note Suspends the calling fiber until one is ready, or the time is up.
        def select(reading, writing = nil, failing = nil, timeout = nil)
          return super if Polyphony.scheduler.nil? || timeout && !timeout.positive?

          Selecting.select(reading, writing, failing, timeout) { |*sets| super(*sets) }
        end
      end
    end
  end
end
