# frozen_string_literal: true

# A chat room: the first line is a name, every other one is heard by everybody else.
#
#     ruby chat_server.rb [PORT]      then, in several terminals: nc 127.0.0.1 PORT
#
# Each member has two fibers: one reads what it says, one writes what it is to hear. So a member that does not
# read keeps nobody waiting.
require "polyphony"
require "socket"

class Room
  def initialize
    @members = {}
  end

  def serve(socket)
    name = socket.gets(chomp: true) or return

    @members[name] = spin { receive_loop { |text| socket.puts text } }
    tell(name, "* #{name} joined")
    socket.gets_loop(chomp: true) { |text| tell(name, "#{name}: #{text}") }
  rescue SystemCallError
    # The member went away without a goodbye.
  ensure
    tell(name, "* #{name} left") if @members.delete(name)
    socket.close
  end

  private

  def tell(speaker, text)
    @members.each { |name, member| member << text unless name == speaker }
  end
end

$stdout.sync = true

begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(0, 0))
  puts "listening on 127.0.0.1:#{server.addr[1]}"

  room = Room.new
  server.accept_loop { |socket| spin { room.serve(socket) } }
rescue SignalException # SIGINT or SIGTERM
  puts "the room is closed"
end
