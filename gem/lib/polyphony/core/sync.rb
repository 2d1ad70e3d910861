# frozen_string_literal: true

# Where Polyphony 1 kept its locks. They are Ruby's own.
require_relative "../locks"
require_relative "../event"
