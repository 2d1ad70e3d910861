# frozen_string_literal: true

require "socket"
require "tmpdir"

# Descriptors that are closed when the example is over.
module Descriptors
  def closing(*ios)
    (@closing ||= []).concat(ios)
    ios.size == 1 ? ios.first : ios
  end

  def close_descriptors
    @closing&.each { |io| io.close unless io.closed? }
    @closing = nil
  end

  def pipe(...) = closing(*IO.pipe(...))

  # A connected pair of TCP sockets: the server's side and the client's.
  def tcp_pair(host = "127.0.0.1")
    server = TCPServer.new(host, 0)
    client = TCPSocket.new(host, server.addr[1])
    closing(server.accept, client)
  ensure
    server&.close
  end

  # Two UDP sockets, each connected to the other.
  def udp_pair(host = "127.0.0.1")
    left, right = closing(*Array.new(2) { UDPSocket.new(Addrinfo.ip(host).afamily) })
    [left, right].each { |socket| socket.bind(host, 0) }
    left.connect(host, right.addr[1])
    right.connect(host, left.addr[1])
    [left, right]
  end

  def unix_pair = closing(*UNIXSocket.pair)

  def listen = closing(TCPServer.new("127.0.0.1", 0))

  # A path in a directory that is gone afterwards.
  def in_directory(&block) = Dir.mktmpdir(&block)
end
