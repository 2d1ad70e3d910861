# frozen_string_literal: true

module Polyphony
  module Extensions
    # Asking for what a path names, and changing that.
    #
    # What the kernel has in memory is there in microseconds, and Ruby's own method takes it at once. What it would have
    # to ask a disk or a net for is looked up through the ring first; then it is in memory.
    #
    # @see ::File
    module Paths
      # What asks about the end of a link, or about the link itself, and what changes something.
      FOLLOWING = %i[
        stat exist? file? directory? size size? zero? empty? pipe? socket? blockdev? chardev? atime mtime ctime birthtime
        readable? readable_real? writable? writable_real? executable? executable_real? world_readable? world_writable?
        owned? grpowned? setuid? setgid? sticky? identical? realpath chmod chown utime truncate
      ].freeze
      STAYING = %i[lstat ftype symlink? readlink rename link lchmod lchown lutime].freeze
      # Bytes from which to give a file's place on the disk back takes longer than to ask a thread for it.
      HEAVY = 8 * 1024 * 1024
      private_constant :FOLLOWING, :STAYING, :HEAVY

      # Defines the methods in a module that is prepended, as far as the original has them.
      # @api private
      def self.define(extension, original)
        { true => FOLLOWING, false => STAYING }.each do |follow, names|
          names.select { |name| original.respond_to?(name) }.each do |name|
            # A block of define_method's would belong to one Ractor.
            extension.class_eval <<~RUBY, __FILE__, __LINE__ + 1
              def #{name}(*arguments)
                arguments.each { |path| Native.look_up(path, #{follow}) } if Polyphony.scheduler
                super
              end
            RUBY
          end
        end
      end

      # Whether one of the paths names a file that takes its time to be removed.
      # @api private
      def self.heavy?(paths)
        paths.map { |path| Native.look_up(path, false) }.any? { |size| size.is_a?(::Integer) && size >= HEAVY }
      end

      # Functions of File.
      #
      # @see ::File
      # @note Each suspends the calling fiber where the kernel has not in memory what the path names.
      # @api private
      module Singleton
        Paths.define(self, ::File)

        # @see ::File.delete
        # @note Suspends the calling fiber where one of the files is large, too.
        def delete(*paths)
          Polyphony.scheduler && Paths.heavy?(paths) ? Polyphony.elsewhere { super } : super
        end

        # @see #delete
        def unlink(*paths)
          Polyphony.scheduler && Paths.heavy?(paths) ? Polyphony.elsewhere { super } : super
        end
      end

      # Functions of FileTest.
      #
      # @see ::FileTest
      # @note Each suspends the calling fiber as those of File do.
      # @api private
      module Tests
        Paths.define(self, ::FileTest)
      end

      # What the system says of a file.
      #
      # @see ::File::Stat
      module Stat
        # @see ::File::Stat#initialize
        # @note Suspends the calling fiber where the kernel has not in memory what the path names.
        def initialize(path)
          Native.look_up(path, true) if Polyphony.scheduler
          super
        end
      end
    end
  end
end
