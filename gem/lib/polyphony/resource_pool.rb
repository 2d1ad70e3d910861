# frozen_string_literal: true

require_relative "bare"

module Polyphony
  # A limited number of things that fibers share, made as they are needed.
  #
  # A fiber that holds one and asks again gets the same one. Messages that the pool does not know go to a
  # resource.
  #
  # @example
  #   connections = Polyphony::ResourcePool.new(limit: 4) { Database.connect }
  #   connections.acquire { |connection| connection.query("SELECT 1") }
  class ResourcePool
    # @return [Integer] how many resources there may be
    attr_reader :limit
    # @return [Integer] how many there are
    attr_reader :size

    # @param limit [Integer]
    # @yieldreturn [Object] a new resource
    # @raise [ArgumentError] without a block, or where the limit lets nobody have anything
    def initialize(limit: 4, &allocator)
      raise ::ArgumentError, "a pool needs a block that makes its resources" unless allocator
      unless ::Numeric === limit && limit.positive?
        raise ::ArgumentError, "a pool needs a limit above zero, not #{limit.inspect}"
      end

      @limit = limit
      @allocator = allocator
      @size = 0
      @free = []
      @waiting = []
      @held = {}.compare_by_identity
    end

    # @return [Integer] how many nobody uses
    def available = @free.size

    # Runs the block with a resource that nobody else uses meanwhile.
    #
    # @note Suspends the calling fiber until there is one, first come first served.
    # @return [Object] the block's value
    # @raise what the allocator raises; the next one may try again
    def acquire
      fiber = ::Fiber.current
      return yield @held[fiber] if @held.key?(fiber)

      resource = take
      @held[fiber] = resource
      begin
        yield resource
      ensure
        @held.key?(fiber) ? give_back(@held.delete(fiber)) : forget
      end
    end

    # Throws the calling fiber's resource away when it is given back: another one is made in its place.
    #
    # @return [Object, nil] the resource
    def discard!
      @held.delete(::Fiber.current)
    end

    # Makes what is missing to the limit.
    #
    # @return [ResourcePool] self
    def fill!
      give_back(make) while @size < @limit
      self
    end

    # Passes a message to a resource.
    def method_missing(...)
      acquire { |resource| resource.__send__(...) }
    end

    # Every message may be one for a resource, and asking one would mean to wait for it.
    def respond_to_missing?(*) = true

    private

    def take
      return @free.shift if @free.any? && @waiting.empty?
      return make if @size < @limit && @waiting.empty?

      wait
      return @free.shift if @free.any?

      make
    end

    # Stands in line. Whoever gives something back wakes the first, who hands that on if it cannot use it.
    def wait
      waiter = [::Fiber.current, false]
      @waiting << waiter
      scheduler = Polyphony.scheduler!
      scheduler.suspend until waiter.last && (@free.any? || @size < @limit)
      through = true
    ensure
      @waiting.delete_if { |other| other.equal?(waiter) }
      wake if waiter&.last && !through
    end

    def wake
      waiter = @waiting.find { |_, woken| !woken } or return

      waiter[1] = true
      Polyphony.schedule(waiter.first, nil, false)
    end

    def make
      @size += 1
      made = false
      resource = @allocator.call
      made = true
      resource
    ensure
      forget unless made
    end

    def give_back(resource)
      @free << resource
      wake
    end

    # Those in line wait for a resource that is given back, unless there is none any more.
    def forget
      @size -= 1
      wake if @size.zero?
    end
  end
end
