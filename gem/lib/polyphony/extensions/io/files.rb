# frozen_string_literal: true

module Polyphony
  module Extensions
    module IO
      # Reading and writing what a path names.
      #
      # A small file that the kernel has in memory is there at once, and Ruby's own methods take it at once: nothing is
      # gained by waiting. A path that the kernel has to ask a disk for is looked up through the ring first. A FIFO or a
      # device may hold the thread, from open(2) on, and a large file takes its time; such a call is made in a thread of
      # its own.
      module Files
        # @!method read(path, length = nil, offset = 0, **options)
        #   @see ::IO.read
        #   @note Suspends the calling fiber where the path names a FIFO, a device, a command or a large file.
        # @!method binread(path, length = nil, offset = 0)
        #   @see ::IO.binread
        #   @note Suspends as {#read} does.
        # @!method readlines(path, separator = $/, limit = nil, chomp: false, **options)
        #   @see ::IO.readlines
        #   @note Suspends as {#read} does.
        # @!method write(path, data, offset = nil, **options)
        #   @see ::IO.write
        #   @note Suspends as {#read} does.
        # @!method binwrite(path, data, offset = nil)
        #   @see ::IO.binwrite
        #   @note Suspends as {#read} does.
        %i[read binread readlines].each do |name|
          # A block of define_method's would belong to one Ractor.
          class_eval <<~RUBY, __FILE__, __LINE__ + 1
            def #{name}(*arguments, **options)
              return super unless Polyphony.scheduler && Files.takes_long?(*arguments)
              # Whose end `$?` tells: another thread's is another.
              return Polyphony.aside { super } if Files.command?(arguments.first)

              Polyphony.elsewhere { super }
            end
          RUBY
        end

        %i[write binwrite].each do |name|
          class_eval <<~RUBY, __FILE__, __LINE__ + 1
            def #{name}(*arguments, **options)
              return super unless Polyphony.scheduler && (Files.large?(arguments[1]) || Files.waits?(arguments.first))
              return Polyphony.aside { super } if Files.command?(arguments.first)

              Polyphony.elsewhere { super }
            end
          RUBY
        end

        # @see ::IO.foreach
        # @note Suspends the calling fiber where the path names a FIFO, a device, a command or a large file.
        def foreach(*arguments, **options, &block)
          path, *rest = arguments
          return super unless block && Polyphony.scheduler

          Looping.check_limit(rest.last, :foreach) # Ruby 3.1 goes round for ever
          return super unless Files.takes_long?(path)

          chomp = options.key?(:chomp) ? { chomp: options.delete(:chomp) } : {}
          io = Polyphony.elsewhere { ::Kernel.open(path, **options) }
          begin
            io.each_line(*rest, **chomp, &block)
          ensure
            io.close
          end
          nil
        end

        # @see ::IO.popen
        # @note With a block, suspends the calling fiber after it until the command has ended.
        def popen(*command, **options)
          return super unless block_given? && Polyphony.scheduler && !command.include?("-")

          io = super(*command, **options, &nil)
          begin
            yield io
          ensure
            io.close
          end
        end

        # Bytes from which a file is large: copying them takes ten times as long as asking a thread.
        LARGE = 512 * 1024

        # Whether reading a path may take as long as somebody else likes, or as long as a large file does.
        # @api private
        def self.takes_long?(path = nil, length = nil, *)
          return true if command?(path)

          found = Native.look_up(path, true)
          found.is_a?(::Symbol) || !found.nil? && found >= LARGE && !(length.is_a?(::Integer) && length < LARGE)
        end

        # Whether much is to be copied from a file to a file.
        # @api private
        def self.copies?(source = nil, target = nil, length = nil, *)
          return false if length.is_a?(::Integer) && length < LARGE

          plain?(source) && (plain?(target) || path?(target)) && ::File.size(source) >= LARGE
        rescue ::SystemCallError, ::IOError, ::ArgumentError, ::TypeError
          false # for the original to refuse
        end

        def self.plain?(file) = (file.is_a?(::File) || path?(file)) && ::File.file?(file)

        def self.path?(file) = file.is_a?(::String) || !file.is_a?(::IO) && file.respond_to?(:to_path)
        private_class_method :plain?, :path?

        # @api private
        def self.large?(data) = data.is_a?(::String) && data.bytesize >= LARGE

        # Whether opening or reading a path may take as long as somebody else likes.
        # @api private
        def self.waits?(path) = command?(path) || Native.look_up(path, true).is_a?(::Symbol)

        # @api private
        def self.command?(path) = path.is_a?(::String) && path.start_with?("|")

        # Whether open(2) may wait for somebody. The devices of memory (`/dev/null` and its kin) never do.
        #
        # @note Suspends the calling fiber where the kernel has to ask a disk for the path.
        # @api private
        def self.opens_late?(path) = Native.look_up(path, true) == :waits
      end

      # Opening a file by its path.
      #
      # @see ::File
      module Opening
        # @see ::File#initialize
        # @note Suspends the calling fiber where the path names a FIFO or a device that may wait for somebody.
        def initialize(*arguments, **options)
          return super unless Polyphony.scheduler && Files.opens_late?(arguments.first)

          Polyphony.elsewhere { super(*arguments, **options) }
        end
      end

      # What a File does besides.
      module FileMethods
        include Opening

        # @see ::File#size
        # @note Suspends the calling fiber until what is buffered is out.
        def size
          flush if Polyphony.scheduler && !closed?
          super
        end

        # @see ::File#truncate
        # @note Suspends like {#size}.
        def truncate(length)
          flush if Polyphony.scheduler && !closed?
          super
        end

        # @see ::File#flock
        # @note Suspends the calling fiber while another has the lock.
        def flock(operation)
          return super unless Polyphony.scheduler && operation.is_a?(::Integer) && operation.nobits?(::File::LOCK_NB)

          super(operation | ::File::LOCK_NB) || Polyphony.elsewhere { super(operation) }
        end
      end

      # Commands that an IO runs.
      module Commands
        # @see ::IO#close
        # @note Suspends the calling fiber until the command has ended.
        def close
          return super if Polyphony.scheduler.nil? || frozen? || closed? || pid.nil?

          Polyphony.aside { super }
        end
      end

      include Commands

      module Singleton
        include Files

        # @see ::IO.sysopen
        # @note Suspends the calling fiber where the path names a FIFO or a device that may wait for somebody.
        def sysopen(*arguments)
          return super unless Polyphony.scheduler && Files.opens_late?(arguments.first)

          Polyphony.elsewhere { super(*arguments) }
        end
      end
    end
  end
end
