# frozen_string_literal: true

module Polyphony
  module Extensions
    # Terminals. What io/console offers reads as every IO does, within the mode that it sets, but for this one,
    # which reads in C. Loaded by {Late}.
    #
    # @see https://docs.ruby-lang.org/en/master/IO.html
    module Console
      # @see ::IO#getpass
      # @note Suspends the calling fiber until there is a line.
      # @param prompt [String, nil]
      # @return [String, nil]
      def getpass(prompt = nil)
        return super unless Polyphony.scheduler

        out = equal?($stdin) ? $stderr : self
        out.write(::String.new(prompt)) if prompt
        begin
          line = noecho(&:gets)
        ensure
          out.puts
        end
        line&.chomp
      end

      ::IO.prepend(self)
    end
  end
end
