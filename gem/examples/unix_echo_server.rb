# frozen_string_literal: true

# An echo over a Unix socket, which is removed when the server ends.
#
#     ruby unix_echo_server.rb PATH      then: nc -U PATH
require "polyphony"
require "socket"

$stdout.sync = true
path = ARGV.fetch(0) { abort "which path?" }

begin
  server = UNIXServer.new(path)
  puts "listening on #{path}"

  server.accept_loop do |socket|
    spin do
      socket.read_loop { |data| socket << data }
    rescue SystemCallError
      # The client went away without a goodbye.
    ensure
      socket.close
    end
  end
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
ensure
  File.unlink(path) if server
end
