# frozen_string_literal: true

# Where Polyphony 1 kept it.
require_relative "../channel"
