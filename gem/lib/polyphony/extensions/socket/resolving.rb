# frozen_string_literal: true

module Polyphony
  module Extensions
    # Names to addresses and back, off the loop: getaddrinfo(3) holds its thread for as long as a name
    # server likes.
    #
    # @api private
    module Resolving
      # Names that Ruby knows by itself.
      RESERVED = ["<any>", "<broadcast>"].freeze

      class << self
        # Where a TCP connection to a host may go.
        #
        # @param family [Integer, nil] which addresses; all of them by default
        # @return [Array<Addrinfo>]
        def addresses(host, port, family = nil)
          ::Addrinfo.getaddrinfo(host, port, family, :STREAM)
        rescue ::SocketError => e
          # Of a name, Ruby 3.4 says in other words than Addrinfo what TCPSocket.new called.
          raise e if numeric?(host) || ::RUBY_VERSION < "3.4"

          raise e.exception(e.message.sub("getaddrinfo:", "getaddrinfo(3):"))
        end

        # Runs a look-up elsewhere, unless it is no more than reading numbers.
        def apart(host, service = nil, &lookup)
          at_hand?(host, service) ? lookup.call : Polyphony.elsewhere(&lookup)
        end

        # Whether there is nothing to look up.
        def at_hand?(host, service = nil)
          Polyphony.scheduler.nil? || numeric?(host) && number?(service)
        end

        # The first address of a name; the name where it has none, for the original to say so.
        def address(host, service, family = nil, kind = :STREAM)
          ::Addrinfo.getaddrinfo(host, service, family, kind).first.ip_address
        rescue ::SocketError
          host
        end

        # The address for a socket of datagrams.
        def of_datagrams(socket, host, port)
          return host if at_hand?(host, port) || RESERVED.include?(host)

          address(host, port, socket.local_address.afamily, :DGRAM)
        end

        # Whether a service is no name that is to be looked up. What is no port is one: the C library takes it for
        # another, and Ruby for no number.
        def number?(service)
          return service < 65_536 if service.is_a?(::Integer)

          !service.is_a?(::String) || service.match?(/\A\d{0,5}\z/)
        end

        # Whether a host is written as an address, as far as can be seen; what is no string is not ours to
        # understand.
        def numeric?(host)
          !host.is_a?(::String) || host.empty? || host.match?(/\A[\d.]+\z|:/)
        end
      end

      # @see ::Socket
      module OfSocket
        include SocketFunctions

        # @note Suspends the calling fiber until a name is resolved.
        def getaddrinfo(host, *rest)
          rest.size > 5 ? Resolving.apart("name") { super } : Resolving.apart(host, rest.first) { super }
        end

        # @note Suspends the calling fiber until the address is resolved.
        def getnameinfo(...)
          Resolving.apart("name") { super(...) }
        end

        # @note Suspends the calling fiber until a name is resolved.
        def gethostbyname(host)
          Resolving.apart(host) { super }
        end

        # @note Suspends the calling fiber until a name is resolved.
        def sockaddr_in(port, host)
          Resolving.apart(host, port) { super }
        end

        # @note Suspends the calling fiber until a name is resolved.
        def pack_sockaddr_in(port, host)
          Resolving.apart(host, port) { super }
        end
      end

      # @see ::TCPSocket
      module OfTCPSocket
        # @note Suspends the calling fiber until a name is resolved.
        def gethostbyname(host)
          Resolving.apart(host) { super }
        end
      end

      # What is given a name to listen on.
      #
      # @see ::TCPServer
      module Listening
        # @note Suspends the calling fiber until a name is resolved.
        def initialize(*arguments)
          host, service = arguments
          return super unless Polyphony.scheduler && arguments.size == 2 && !Resolving.at_hand?(host, service)

          super(Resolving.address(host, service), service)
        end
      end

      # @see ::UDPSocket
      module Naming
        # @note Suspends the calling fiber until a name is resolved.
        def bind(host, port)
          super(Resolving.of_datagrams(self, host, port), port)
        end

        # @note Suspends the calling fiber until a name is resolved.
        def connect(host, port)
          super(Resolving.of_datagrams(self, host, port), port)
        end
      end

      # @see ::IPSocket
      module OfIPSocket
        # @note Suspends the calling fiber until a name is resolved.
        def getaddress(host)
          Resolving.apart(host) { super }
        end
      end

      # @see ::Addrinfo
      module OfAddrinfo
        # @note Suspends the calling fiber until a name is resolved.
        def getaddrinfo(host, *rest, **options)
          Resolving.apart(host, rest.first) { super }
        end

        # @note Suspends the calling fiber until a name is resolved.
        def tcp(host, port)
          Resolving.apart(host, port) { super }
        end

        # @note Suspends the calling fiber until a name is resolved.
        def udp(host, port)
          Resolving.apart(host, port) { super }
        end

        # @note Suspends the calling fiber until a name is resolved.
        def ip(host)
          Resolving.apart(host) { super }
        end
      end
    end

    module TCPServer
      include Resolving::Listening
    end

    module UDPSocket
      include Resolving::Naming
    end
  end
end
