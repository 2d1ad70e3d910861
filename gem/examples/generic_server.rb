# frozen_string_literal: true

# A generic server, as in Erlang: a fiber that owns its state and answers calls, kept alive by a supervisor.
#
#     ruby generic_server.rb
#
# What is wrong with one request ends that incarnation; the next one starts with a fresh state.
require "polyphony"

class Counter
  def initialize
    @count = 0
  end

  def add(number) = @count += Integer(number)
end

class GenericServer
  # What the caller gets where its request ended the server.
  Crashed = Class.new(StandardError)

  def initialize(&factory)
    @requests = Queue.new
    @supervisor = spin(:supervisor) do
      spin(:server) { serve(factory.call) }
      supervise(restart: :on_error)
    end
  end

  def call(name, *arguments)
    answer = Queue.new
    @requests << [answer, name, arguments]
    result = answer.shift
    raise result if result.is_a?(Crashed)

    result
  end

  def stop = @supervisor.stop.await

  private

  def serve(object)
    loop do
      answer, name, arguments = @requests.shift
      begin
        answer << object.public_send(name, *arguments)
      rescue => e
        answer << Crashed.new(e.message)
        raise
      end
    end
  end
end

counter = GenericServer.new { Counter.new }
puts counter.call(:add, 5)
puts counter.call(:add, 5)
begin
  counter.call(:add, "many")
rescue GenericServer::Crashed => e
  puts "crashed: #{e.message}"
end
puts counter.call(:add, 1)
counter.stop
