# frozen_string_literal: true

# Every collection moves what it can.
GC.auto_compact = true
