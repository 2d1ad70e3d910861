# frozen_string_literal: true

module Polyphony
  module Extensions
    # Messages with all that belongs to them, and loops over what a socket receives.
    module Messages
      # @see ::BasicSocket#recvmsg
      # @note Suspends the calling fiber until there is a message.
      # @return [Array(String, Addrinfo, Integer, *Socket::AncillaryData)]
      def recvmsg(*arguments, **options)
        return super unless Polyphony.scheduler

        __message__ { recvmsg_nonblock(*arguments, exception: false, **options) }
      end

      # @see ::BasicSocket#sendmsg
      # @note Suspends the calling fiber until the kernel has taken the message.
      # @return [Integer] bytes sent
      def sendmsg(*arguments)
        return super unless Polyphony.scheduler

        until (sent = sendmsg_nonblock(*arguments, exception: false)) != :wait_writable
          woken = wait_writable
          return woken unless woken.equal?(self)
        end
        sent
      end

      # Yields what is received, until the peer has ended; a datagram may be empty.
      #
      # @note Suspends the calling fiber until something is there.
      # @param maxlen [Integer] the most that is yielded at once
      # @yieldparam data [String]
      # @return [self]
      def recv_loop(maxlen = 8192)
        stream = __stream__?
        ::Kernel.loop do
          data = recv(maxlen)
          return self if data.nil? || (stream && data.empty?)

          yield data
        end
      end

      # {Looping#feed_loop}, by `recv`.
      #
      # @return [self]
      def recv_feed_loop(receiver, method = :call, &block)
        recv_loop { |data| receiver.__send__(method, data, &block) }
      end

      # @return [Symbol] the backend's method for reading
      # @api private
      def __read_method__ = :backend_recv

      # @return [Symbol] the backend's method for writing
      # @api private
      def __write_method__ = :backend_send

      private

      def __stream__?
        getsockopt(:SOCKET, :TYPE).int == ::Socket::SOCK_STREAM
      end

      # Waits until one call of the original will not.
      def __await_message__
        ::Kernel.loop do
          woken = wait_readable
          return woken unless woken.equal?(self)
          return yield if ::IO.select([self], nil, nil, 0) # nobody was faster
        end
      rescue ::IOError
        raise if closed?

        yield # closed for reading, where nothing is waited for, or for the original to refuse
      end

      # What earlier reads left, in the buffer where one is given.
      def __buffered_message__(maxlen, flags = 0, buffer = nil)
        data = __buffered__(maxlen, flags)
        data && buffer ? buffer.replace(data) : data
      end
    end

    # @see ::IPSocket
    module IPSocket
      # @note Suspends the calling fiber until there is a message.
      # @return [Array(String, Array)] the message, and its sender; of a TCPSocket nil
      def recvfrom(*arguments)
        return super unless Polyphony.scheduler && LENGTHS === arguments.first # rubocop:disable Style/CaseEquality

        data = __buffered_message__(*arguments)
        data ? [data, nil] : __await_message__ { super(*arguments) }
      end
    end

    # What UNIX sockets do besides.
    module UNIXMessages
      # @see ::UNIXSocket#recvfrom
      # @note Suspends the calling fiber until there is a message.
      def recvfrom(*arguments)
        return super unless Polyphony.scheduler && LENGTHS === arguments.first # rubocop:disable Style/CaseEquality

        data = __buffered_message__(*arguments)
        data ? [data, ["AF_UNIX", ""]] : __await_message__ { super(*arguments) }
      end

      # @see ::UNIXSocket#recv_io
      # @note Suspends the calling fiber until there is a message.
      def recv_io(*arguments)
        return super unless Polyphony.scheduler && arguments.size <= 2 # the rest is for it to refuse

        __await_message__ { super(*arguments) }
      end
    end

    module BasicSocket
      include Messages
    end

    module UNIXSocket
      include UNIXMessages
    end
  end
end
