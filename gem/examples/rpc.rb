# frozen_string_literal: true

# Remote calls over one connection, many at a time: each has a number, and answers come in any order.
#
#     ruby rpc.rb
require "polyphony"
require "json"
require "socket"

# Answers each request in a fiber of its own.
def serve(socket, methods)
  socket.gets_loop do |line|
    request = JSON.parse(line)
    spin do
      answer = begin
        { result: methods.fetch(request["method"]).call(*request["arguments"]) }
      rescue StandardError => e
        { error: e.message }
      end
      socket.puts JSON.generate(answer.merge(id: request["id"]))
    end
  end
end

class Client
  def initialize(socket)
    @socket = socket
    @calls = {}
    @reader = spin { socket.gets_loop { |line| answered(JSON.parse(line)) } }
  end

  def call(method, *arguments)
    id = @calls.size
    @calls[id] = Queue.new
    @socket.puts JSON.generate(id: id, method: method, arguments: arguments)
    answer = @calls[id].shift
    answer.fetch("result") { raise answer["error"] }
  end

  private

  def answered(answer) = @calls.fetch(answer["id"]) << answer
end

ours, theirs = UNIXSocket.pair
order = []
bell = Queue.new
methods = {
  "add" => ->(*numbers) { numbers.sum },
  "wait" => ->(text) { bell.shift; order << text; text },
  "ring" => ->(text) { bell << true; order << text; text }
}
spin(:server) { serve(theirs, methods) }

client = Client.new(ours)
puts client.call("add", 1, 2, 3)
waiting = spin { client.call("wait", "first asked") }
ringing = spin { client.call("ring", "last asked") }
puts Fiber.await(waiting, ringing).join(", ")
puts "the server answered: #{order.join(', ')}"
begin
  client.call("add", 1, "two")
rescue RuntimeError => e
  puts "error: #{e.message}"
end
