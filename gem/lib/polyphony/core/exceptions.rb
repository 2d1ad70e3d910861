# frozen_string_literal: true

# Where Polyphony 1 kept them.
require_relative "../exceptions"
