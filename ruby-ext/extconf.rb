# frozen_string_literal: true

# How RubyGems builds the extension: a Makefile that asks cargo.
#
# RubyGems can drive cargo by itself, but it then names the extension after the gem (polyphony.so, beside
# polyphony.rb) and leaves cargo's whole build directory in the installed gem.
require "mkmf"

abort <<~MESSAGE unless find_executable("cargo")
  polyphony: its extension is written in Rust, and cargo is not on PATH.
  Install Rust (the installer at rustup.rs does), then install the gem again.
MESSAGE

# Rust links by cc, and RubyGems builds by make.
tools = ["cc", ENV.fetch("MAKE", "make")].reject { |tool| find_executable(tool) }
abort <<~MESSAGE unless tools.empty?
  polyphony: not on PATH: #{tools.join(", ")}.
  On Debian or Ubuntu: apt-get install gcc libc6-dev make libclang-dev. Then install the gem again.
MESSAGE

# A build directory that the caller names is kept, ours is not.
target = ENV.fetch("CARGO_TARGET_DIR", "")
ours = target.empty?
target = File.expand_path("target") if ours

File.write("Makefile", <<~MAKEFILE)
  DESTDIR =
  sitearchdir = #{RbConfig::CONFIG["sitearchdir"]}

  all:
  \tRUBY='#{RbConfig.ruby}' cargo build --release --locked --lib --target-dir '#{target}'

  install: all
  \tmkdir -p '$(DESTDIR)$(sitearchdir)'
  \tcp '#{target}/release/libpolyphony_ruby.so' '$(DESTDIR)$(sitearchdir)/polyphony_ruby.so'
  #{"\trm -rf '#{target}'" if ours}

  clean:

  .PHONY: all install clean
MAKEFILE
