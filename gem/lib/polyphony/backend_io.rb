# frozen_string_literal: true

require_relative "bare"

module Polyphony
  # The operations of Polyphony 1's backend: old names over the methods of IO.
  #
  # Each is a method of a thread's {Scheduler} (`Thread.current.backend.read(…)`) and a function of the module
  # (`Polyphony.backend_read(…)`); both work in the calling thread. An `io` is an IO, a {Pipe}, a descriptor,
  # what answers `to_io`, or what keeps one of these in `@io`; a buffer is a String, a {RawBuffer} or an IO::Buffer.
  #
  # @note Each suspends the calling fiber until it is done.
  module BackendIO
    # Waits for a connection.
    #
    # @param klass [Class] what to make of it
    # @return [Socket] an instance of `klass`
    def accept(socket, klass)
      Native.accept(BackendIO.io(socket), klass)
    end

    # Yields each connection, until the block breaks.
    def accept_loop(socket, klass)
      ::Kernel.loop { yield accept(socket, klass) }
    end

    # @return [0]
    def connect(socket, host, port)
      BackendIO.io(socket).connect(::Addrinfo.tcp(host, port))
    end

    # @param length [Integer, nil] nil for everything
    # @param to_eof [Boolean] whether to go on until so many bytes are there, or the end
    # @param place [Integer] where in the buffer to put it; -1 for its end
    # @return [String, Integer, nil] the buffer; of memory the count of bytes; nil at the end
    def read(io, buffer, length, to_eof, place)
      stream = BackendIO.io(io)
      return place(buffer, place, BackendIO.exactly(stream, length)) if length && to_eof && io.is_a?(::Integer)
      return stream.readpartial(length, buffer, place, false) if length && !to_eof

      data = stream.read(length, buffer, place)
      data unless length.nil? && data.is_a?(::String) && data.empty?
    end

    # @see Looping#read_loop
    def read_loop(io, maxlen = 8192, &block)
      BackendIO.io(io).read_loop(maxlen, &block)
      io
    end

    # @return [String, Integer, nil]
    def recv(socket, buffer, length, place)
      place(buffer, place, BackendIO.io(socket).recv(length))
    end

    # @see Extensions::Messages#recv_loop
    def recv_loop(socket, maxlen = 8192, &block)
      BackendIO.io(socket).recv_loop(maxlen, &block)
      socket
    end

    # @return [Array, nil] the message, the sender as an Addrinfo, flags and control messages
    def recvmsg(socket, buffer, maxlen, place, flags, maxcontrol, options)
      message, *rest = BackendIO.io(socket).recvmsg(maxlen, flags || 0, maxcontrol, **(options || {}))
      message && [place(buffer, place, message), *rest]
    end

    # @see Looping#feed_loop
    def feed_loop(io, receiver, method = :call, &block)
      BackendIO.io(io).feed_loop(receiver, method, &block)
      io
    end

    # @see Extensions::Messages#recv_feed_loop
    def recv_feed_loop(socket, receiver, method = :call, &block)
      BackendIO.io(socket).recv_feed_loop(receiver, method, &block)
      socket
    end

    # @return [Integer] bytes sent: all of them, on a stream
    def send(socket, message, flags)
      socket = BackendIO.io(socket)
      message = message.to_s
      sent = 0
      loop do
        count = socket.send(sent.zero? ? message : message.byteslice(sent..), flags)
        return count unless count.is_a?(::Integer)

        sent += count
        return sent if sent >= message.bytesize
      end
    end

    # @return [Integer] bytes sent
    def sendmsg(socket, message, flags, destination, controls)
      BackendIO.io(socket).sendmsg(message, flags, destination, *controls)
    end

    # @param messages [Array<String>] sent as one
    # @return [Integer] bytes sent
    def sendv(socket, messages, flags)
      send(socket, messages.join, flags)
    end

    # @param buffers [Array<String, RawBuffer, IO::Buffer>]
    # @return [Integer] bytes written
    def write(io, *buffers)
      target = BackendIO.target(io)
      written = target.write(*buffers.map { |buffer| buffer.respond_to?(:get_string) ? buffer.get_string : buffer })
      target.flush unless target.sync
      written
    end

    # With an IO: closes it. Without: ends the scheduler.
    #
    # @return [nil]
    def close(*io)
      return super() if io.empty?

      io.first.is_a?(::Integer) ? BackendIO.io(io.first, autoclose: true).close : io.first.close
      nil
    end

    # @see Extensions::Moving#splice_from
    def splice(source, target, maxlen) = Extensions::Moving.splice(source, target, maxlen)

    # @see Extensions::Moving::Singleton#double_splice
    def double_splice(source, target) = Extensions::Moving.through(source, target)

    # @see Extensions::Moving#tee_from
    def tee(source, target, maxlen) = Extensions::Moving.tee(source, target, maxlen)

    # Waits until an IO is ready.
    #
    # @param write [Boolean] whether to be written to
    # @return [IO, Pipe, Integer] the IO
    def wait_io(io, write)
      target = write ? BackendIO.target(io) : BackendIO.io(io)
      write ? target.wait_writable : target.wait_readable
      io
    end

    # Several operations, one after the other.
    #
    # @param operations [Array<Array>] `[:write, io, string]`, `[:send, socket, string, flags]` or
    #   `[:splice, source, target, maxlen]`
    # @return [Integer] what the last one gives
    # @raise [RuntimeError] where one is none of these; then none is done
    def chain(*operations)
      operations.each { |name, *arguments| BackendIO.check(name, arguments) }
      operations.map { |name, *arguments| __send__(name, *arguments) }.last
    end

    # Sends everything from a source with something before and after the whole, and each piece.
    #
    # @param prefix [String, nil]
    # @param postfix [String, nil]
    # @param piece_prefix [String, Proc, nil] a Proc is given the size of the piece
    # @param piece_postfix [String, Proc, nil]
    # @param size [Integer] the most that goes into one piece
    # @return [Integer] bytes moved, without what was added
    def splice_chunks(source, target, prefix, postfix, piece_prefix, piece_postfix, size)
      sink = BackendIO.target(target)
      add = ->(text, length) { text && sink.write(text.respond_to?(:call) ? text.call(length) : text) }
      add.call(prefix, 0)
      total = 0
      Extensions::Moving.chunks(source, size) do |length, pass_on|
        add.call(piece_prefix, length)
        pass_on.call(sink)
        add.call(piece_postfix, length)
        total += length
      end
      add.call(postfix, 0)
      Extensions::Moving.write_out(sink)
      total
    end

    # The operations, in the words of Polyphony 1.
    OPERATIONS = instance_methods(false).freeze
    # How many arguments an operation of {#chain} takes.
    CHAINED = { write: 2, send: 3, splice: 3 }.freeze
    private_constant :CHAINED

    private

    def place(buffer, place, data)
      data = nil if data.is_a?(::String) && data.empty?
      Extensions::IO::Buffers.check(buffer)
      Extensions::IO::Buffers.place(buffer, place, data)
    end

    class << self
      # The IO to read from.
      # @api private
      def io(given, autoclose: false)
        case given
        when ::IO then given
        when ::Integer then ::IO.for_fd(given, mode(given), autoclose: autoclose)
        when Pipe then given.__reader__
        else
          return given if given.respond_to?(:readpartial) # which has more to say than its descriptor

          ::IO.try_convert(given) || behind(given) or
            raise ::TypeError, "no implicit conversion of #{given.class} into IO"
        end
      end

      # The IO to write to.
      # @api private
      def target(given) = given.is_a?(Pipe) ? given.__writer__ : io(given)

      # So many bytes and no more: what were read ahead of a bare descriptor would be lost with its IO.
      # @api private
      def exactly(io, length)
        data = +""
        while data.bytesize < length && (piece = io.readpartial(length - data.bytesize, +"", 0, false))
          data << piece
        end
        data
      end

      # Refuses what cannot be part of a chain.
      # @api private
      def check(name, arguments)
        raise "Invalid op specified or bad op arity" unless CHAINED[name] == arguments.size
      end

      private

      # What a wrapper of Polyphony 1's kind keeps in `@io`.
      def behind(given)
        inner = given.instance_variable_get(:@io)
        io(inner) if inner
      end

      def mode(descriptor)
        { ::File::RDONLY => "r", ::File::WRONLY => "w" }.fetch(::IO.for_fd(descriptor, autoclose: false).fcntl(3) & 3, "r+")
      end
    end

    Scheduler.prepend(self)
    OPERATIONS.each do |name|
      Polyphony.define_singleton_method(:"backend_#{name}") do |*arguments, &block|
        scheduler!.__send__(name, *arguments, &block)
      end
    end
  end

  # @!method self.backend_accept(socket, klass)
  #   @see BackendIO#accept
  # @!method self.backend_accept_loop(socket, klass)
  #   @see BackendIO#accept_loop
  # @!method self.backend_connect(socket, host, port)
  #   @see BackendIO#connect
  # @!method self.backend_read(io, buffer, length, to_eof, place)
  #   @see BackendIO#read
  # @!method self.backend_read_loop(io, maxlen = 8192, &block)
  #   @see BackendIO#read_loop
  # @!method self.backend_recv(socket, buffer, length, place)
  #   @see BackendIO#recv
  # @!method self.backend_recv_loop(socket, maxlen = 8192, &block)
  #   @see BackendIO#recv_loop
  # @!method self.backend_recvmsg(socket, buffer, maxlen, place, flags, maxcontrol, options)
  #   @see BackendIO#recvmsg
  # @!method self.backend_feed_loop(io, receiver, method = :call, &block)
  #   @see BackendIO#feed_loop
  # @!method self.backend_recv_feed_loop(socket, receiver, method = :call, &block)
  #   @see BackendIO#recv_feed_loop
  # @!method self.backend_send(socket, message, flags)
  #   @see BackendIO#send
  # @!method self.backend_sendmsg(socket, message, flags, destination, controls)
  #   @see BackendIO#sendmsg
  # @!method self.backend_sendv(socket, messages, flags)
  #   @see BackendIO#sendv
  # @!method self.backend_write(io, *buffers)
  #   @see BackendIO#write
  # @!method self.backend_close(*io)
  #   @see BackendIO#close
  # @!method self.backend_splice(source, target, maxlen)
  #   @see BackendIO#splice
  # @!method self.backend_double_splice(source, target)
  #   @see BackendIO#double_splice
  # @!method self.backend_tee(source, target, maxlen)
  #   @see BackendIO#tee
  # @!method self.backend_wait_io(io, write)
  #   @see BackendIO#wait_io
  # @!method self.backend_chain(*operations)
  #   @see BackendIO#chain
  # @!method self.backend_splice_chunks(source, target, prefix, postfix, piece_prefix, piece_postfix, size)
  #   @see BackendIO#splice_chunks

  # Makes a descriptor block, or not.
  #
  # @param blocking [Boolean]
  # @return [IO] the IO
  def self.backend_verify_blocking_mode(io, blocking)
    BackendIO.io(io).nonblock = !blocking
    io
  end
end
