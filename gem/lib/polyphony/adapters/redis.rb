# frozen_string_literal: true

# Redis needs no adapter: its clients read and write without blocking, and wait as every IO does. A client is
# one fiber's at a time, as it is one thread's: give each its own, or use a {Polyphony::ResourcePool}.
#
# Here comes `redis-client`, or `redis` where it is too old to use that.
require_relative "../../polyphony"
begin
  require "redis-client"
rescue LoadError
  require "redis"
end
