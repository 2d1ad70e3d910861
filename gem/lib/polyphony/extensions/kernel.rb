# frozen_string_literal: true

module Polyphony
  # Runs the block where stock Ruby would hold the thread: in a fiber of its own, when the calling one is a
  # main fiber. Ruby's own scheduler interface serves only fibers that are not blocking, and nothing makes
  # a main fiber one; so a helper makes the stock call and hands over the result.
  #
  # @api private
  def self.aside
    return yield unless scheduler && ::Fiber.current.blocking?

    helper = ::Fiber.current.spin(:aside) { yield }
    begin
      helper.await
    rescue ::Exception => e
      Extensions::Exception.relocate(e, caller(2)) if e.equal?(helper.result)
      raise
    ensure
      ::Fiber.current.__await_ends__([helper.stop]) unless helper.dead?
    end
  end

  module Extensions
    # `sleep`, `p`, `gets`, `system`, backticks and `trap`, as functions of Kernel.
    #
    # @!method sleep(seconds = nil)
    #   @see ::Kernel#sleep
    #   @note Suspends the calling fiber; ends early with what the fiber is scheduled with.
    #   @return [Object, nil]
    # @!method gets(separator = $/, limit = nil, chomp: false)
    #   @see ::Kernel#gets
    #   @note Suspends the calling fiber until `$stdin` has a line; files named in ARGV are read as ever.
    #   @return [String, nil]
    # @!method readline(separator = $/, limit = nil, chomp: false)
    #   @see ::Kernel#readline
    #   @note Suspends like {#gets}.
    # @!method readlines(separator = $/, limit = nil, chomp: false)
    #   @see ::Kernel#readlines
    #   @note Suspends like {#gets}, until the end of the stream.
    module KernelFunctions
      # @see ::Kernel#p
      # @note Suspends the calling fiber until everything is written, each object in one piece with its newline.
      def p(*objects)
        return super unless Polyphony.scheduler

        objects.each { |object| $stdout.write(object.inspect.to_s, "\n") }
        $stdout.flush if ::IO === $stdout
        objects.size > 1 ? objects : objects.first
      end

      # @see ::Kernel#open
      # @note Suspends the calling fiber where the path names a FIFO or a device that may wait for somebody.
      def open(*arguments, **options, &block)
        return super unless Polyphony.scheduler && IO::Files.opens_late?(arguments.first)

        ::File.open(*arguments, **options, &block)
      end

      # @see ::Kernel#system
      # @note Suspends the calling fiber until the command has ended. What it prints goes where `$stdout`
      #   goes, also where that is no file.
      def system(*command, **options)
        return super unless Polyphony.scheduler
        return Polyphony.aside { super } if options.key?(:out) || Output.real?($stdout, 1)

        Output.into($stdout) { |out| Polyphony.aside { super(*command, **options, out: out) } }
      end

      # @see ::Kernel#`
      # @note Suspends the calling fiber until the command has ended and its output is read. What it
      #   complains of goes where `$stderr` goes, also where that is no file.
      def `(command)
        return super unless Polyphony.scheduler
        return Polyphony.aside { super(command) } if Output.real?($stderr, 2)

        Output.into($stderr) { |complaints| Polyphony.aside { ::IO.popen(command, err: complaints, &:read) } }
      end

      # @see ::Kernel#trap
      # @note Where the main thread runs fibers, the handler is a fiber: it may wait, and what it raises is
      #   raised in the main fiber.
      def trap(*arguments, &block)
        handler = arguments.size == 2 ? arguments.last : block
        return Signals.unwrap(super) unless arguments.size.between?(1, 2) && handler.respond_to?(:call)

        Signals.unwrap(super(arguments.first, Signals.wrap(handler)))
      end
    end

    # Where a command's output goes when `$stdout` or `$stderr` is not what the command inherits.
    #
    # @api private
    module Output
      # Whether a command writes there by itself.
      def self.real?(io, descriptor)
        io.is_a?(::IO) && io.fileno == descriptor
      rescue ::IOError
        true # it is closed, and the command will say so
      end

      # Yields a pipe's end whose other end is copied to `io`.
      #
      # @return [Object] the block's value
      def self.into(io)
        reader, writer = ::IO.pipe
        copier = ::Fiber.current.spin(:output) { reader.each { |line| io.write(line) } }
        value = yield writer
        writer.close
        copier.await
        value
      ensure
        [writer, reader].each { |closing| closing&.close unless closing&.closed? }
        ::Fiber.current.__await_ends__([copier.stop]) unless copier.nil? || copier.dead?
      end
    end

    # The same as private methods of every object.
    Kernel = KernelFunctions.dup
    Kernel.send(:private, *Kernel.instance_methods)
  end
end
