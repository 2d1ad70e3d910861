# frozen_string_literal: true

module Polyphony
  module Extensions
    module IO
      # Reading and writing what a path names.
      #
      # A file is there at once, and Ruby's own methods take it at once: nothing is gained by waiting. A FIFO
      # or a device may hold the thread, from open(2) on; such a call is made in a thread of its own.
      module Files
        # @!method read(path, length = nil, offset = 0, **options)
        #   @see ::IO.read
        #   @note Suspends the calling fiber where the path names a FIFO, a device or a command.
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
        %i[read binread readlines write binwrite].each do |name|
          define_method(name) do |*arguments, **options|
            next super(*arguments, **options) unless Polyphony.scheduler && Files.waits?(arguments.first)
            # Whose end `$?` tells: another thread's is another.
            next Polyphony.aside { super(*arguments, **options) } if Files.command?(arguments.first)

            Polyphony.elsewhere { super(*arguments, **options) }
          end
        end

        # @see ::IO.foreach
        # @note Suspends the calling fiber where the path names a FIFO, a device or a command.
        def foreach(*arguments, **options, &block)
          path, *rest = arguments
          return super unless block && Polyphony.scheduler

          Looping.check_limit(rest.last, :foreach) # Ruby 3.1 goes round for ever
          return super unless Files.waits?(path)

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

        # Whether opening or reading a path may take as long as somebody else likes.
        # @api private
        def self.waits?(path)
          return true if command?(path)

          (path.is_a?(::String) || path.respond_to?(:to_path)) && pipe_or_device?(path)
        end

        # @api private
        def self.command?(path) = path.is_a?(::String) && path.start_with?("|")

        # Whether open(2) may wait for somebody. The devices of memory (`/dev/null` and its kin) never do.
        # @api private
        def self.opens_late?(path)
          path = path.to_path if path.respond_to?(:to_path)
          path.is_a?(::String) && pipe_or_device?(path) && ::File.stat(path).then { |found| found.pipe? || found.rdev_major != 1 }
        rescue ::SystemCallError
          false # for the original to say
        end

        def self.pipe_or_device?(path)
          # A plain file is the rule, and one question enough for it.
          !::File.file?(path) && (::File.pipe?(path) || ::File.chardev?(path))
        rescue ::ArgumentError, ::TypeError
          false # for the original to refuse
        end
        private_class_method :pipe_or_device?
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

        # @see ::File#flock
        # @note Suspends the calling fiber while another has the lock.
        def flock(operation)
          return super unless Polyphony.scheduler && operation.is_a?(::Integer) && operation.nobits?(::File::LOCK_NB)

          super(operation | ::File::LOCK_NB) || Polyphony.elsewhere { super(operation) }
        end
      end

      # @see ::IO#fsync
      # @note Suspends the calling fiber until the disk has everything.
      def fsync = Polyphony.elsewhere { super() }

      # @see ::IO#fdatasync
      # @note Suspends like {#fsync}.
      def fdatasync = Polyphony.elsewhere { super() }

      # Commands that an IO runs.
      module Commands
        # @see ::IO#close
        # @note Suspends the calling fiber until the command has ended.
        def close
          return super if Polyphony.scheduler.nil? || closed? || pid.nil?

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
