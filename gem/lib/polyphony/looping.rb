# frozen_string_literal: true

module Polyphony
  # Loops over a stream.
  #
  # Each yields until the stream ends, and is then self. `break` ends it with the break's value,
  # StopIteration with its result; what the block raises goes through. Needs `gets` and `readpartial`.
  module Looping
    # Refuses a limit of nothing, of which a loop would never have enough.
    # @api private
    def self.check_limit(limit, name)
      raise ::ArgumentError, "invalid limit: 0 for #{name}" if limits_to_nothing?(limit)
    end

    # @api private
    def self.limits_to_nothing?(limit) = ::Numeric === limit && limit.to_int.zero?

    # Yields what is read, as it comes.
    #
    # @note Suspends the calling fiber until something is there.
    # @param maxlen [Integer] the most that is yielded at once
    # @yieldparam data [String]
    # @return [self]
    # @raise [ArgumentError] where `maxlen` is 0
    # @example
    #   socket.read_loop { |data| socket << data }
    def read_loop(maxlen = 8192)
      Looping.check_limit(maxlen, :read_loop)
      while (data = __piece__(maxlen))
        yield data
      end
      self
    rescue ::StopIteration => e
      e.result
    end

    # Yields every line.
    #
    # @note Suspends the calling fiber until a line is there.
    # @param args as for IO#gets
    # @yieldparam line [String]
    # @return [self]
    def gets_loop(*args, **options)
      if args.empty? && options.empty? # handing nothing on takes half of the time
        while (line = gets)
          yield line
        end
      else
        Looping.check_limit(args.last, :gets_loop)
        while (line = gets(*args, **options))
          yield line
        end
      end
      self
    rescue ::StopIteration => e
      e.result
    end

    # Hands what is read to a receiver, as it comes, with the block.
    #
    # @note Suspends the calling fiber until something is there.
    # @param receiver [Object]
    # @param method [Symbol] what to call of it
    # @return [self]
    # @example
    #   io.feed_loop(unpacker, :feed_each) { |message| handle(message) }
    def feed_loop(receiver, method = :call, &block)
      read_loop { |data| receiver.__send__(method, data, &block) }
    end

    private

    # The next piece; nil at the end of the stream.
    def __piece__(maxlen)
      readpartial(maxlen)
    rescue ::EOFError
      nil
    end
  end
end
