# frozen_string_literal: true

# Debounce: of calls in quick succession only the last one counts, when it has been quiet for a while.
#
#     ruby debounce.rb
require "polyphony"

class Debounce
  def initialize(seconds, &action)
    @seconds = seconds
    @action = action
  end

  def call(*arguments)
    @pending&.stop
    @pending = after(@seconds) { @action.call(*arguments) }
  end

  # Waits for the call that is due, if there is one.
  def flush = @pending&.await
end

save = Debounce.new(0.05) { |text| puts "saved #{text.inspect}" }
"hello".each_char.inject("") { |text, char| (text + char).tap { |so_far| save.call(so_far) } }
save.flush
save.call("hello, world")
save.flush
