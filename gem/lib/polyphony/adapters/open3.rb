# frozen_string_literal: true

# Open3 needs no adapter: it is made of pipes and of a thread that waits for the command, and who waits for
# these lets other fibers run.
require "open3"
require_relative "../../polyphony"
