# frozen_string_literal: true

require_relative "helper"

# What spec/shared says is no invention of ours: so are the classes of stock Ruby.
RSpec.describe "Stock Ruby" do
  queues
  locks
  readable_ios
  writable_ios
  sockets
end
