# frozen_string_literal: true

# Publish and subscribe: a topic hands each message to the mailboxes of its subscribers.
#
#     ruby pubsub.rb
require "polyphony"

class Broker
  def initialize
    @topics = Hash.new { |topics, name| topics[name] = [] }
  end

  # Yields what is published, until the subscriber's fiber ends or the block breaks.
  def subscribe(topic, &block)
    subscriber = Fiber.current
    @topics[topic] << subscriber
    receive_loop(&block)
  ensure
    @topics[topic].delete(subscriber)
  end

  def publish(topic, message) = @topics[topic].each { |subscriber| subscriber << message }

  def subscribers(topic) = @topics[topic].size
end

broker = Broker.new
readers = %w[ann bob].map do |name|
  spin(name) do
    heard = []
    broker.subscribe(:news) { |text| heard << text; break if text == "goodbye" }
    "#{name} heard #{heard.join(', ')}"
  end
end
spin(:carl) { broker.subscribe(:weather) { |text| puts "carl heard #{text}" } }
snooze # they subscribe

broker.publish(:news, "hello")
broker.publish(:weather, "rain")
broker.publish(:news, "goodbye")
puts Fiber.await(*readers)
puts "left: #{broker.subscribers(:news)} for news, #{broker.subscribers(:weather)} for weather"
