# frozen_string_literal: true

module Polyphony
  # The gem's version: the workspace's in Cargo.toml, as RubyGems writes it. The gemspec checks that they agree.
  VERSION = "2.0.0.pre1"
end
