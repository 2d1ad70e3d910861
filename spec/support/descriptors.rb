# frozen_string_literal: true

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
  def tcp_pair
    server = TCPServer.new("127.0.0.1", 0)
    client = TCPSocket.new("127.0.0.1", server.addr[1])
    closing(server.accept, client)
  ensure
    server&.close
  end

  def unix_pair = closing(*UNIXSocket.pair)

  def listen = closing(TCPServer.new("127.0.0.1", 0))

  # A path in a directory that is gone afterwards.
  def in_directory(&block) = Dir.mktmpdir(&block)
end
