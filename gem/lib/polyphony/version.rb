# frozen_string_literal: true

module Polyphony
  # The gem's version; the crates carry the same one.
  VERSION = "2.0.0.pre1"
end
