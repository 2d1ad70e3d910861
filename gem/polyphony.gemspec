# frozen_string_literal: true

# Built from the root of the repository: `gem build gem/polyphony.gemspec`.
root = File.expand_path("..", __dir__)
require_relative "lib/polyphony/version"

# Cargo's 2.0.0-pre.1 is RubyGems' 2.0.0.pre1.
cargo_version = File.read("#{root}/Cargo.toml")[/^\[workspace\.package\].*?^version = "(.+?)"/m, 1]
unless cargo_version.sub(/-(\w+)\.(\d+)\z/, '.\1\2') == Polyphony::VERSION
  raise "Cargo.toml says version #{cargo_version}, gem/lib/polyphony/version.rb says #{Polyphony::VERSION}"
end

# Every member of the workspace goes in, the C library too: without its manifest cargo does not resolve the
# workspace, and without the same members Cargo.lock does not hold.
rust = Dir.glob("{core,ffi,ruby-ext}/**/*.{rs,toml,h}", base: root).grep_v(%r{/target/|/benches/peers/})

Gem::Specification.new do |spec|
  spec.name = "polyphony"
  spec.version = Polyphony::VERSION
  spec.summary = "Fine-grained concurrency: fibers that read like sequential code, on io_uring"
  spec.description = <<~TEXT
    Ordinary blocking-style Ruby (TCPServer, gets, read, sleep, queues) serves thousands of connections on one
    thread. Fibers wait through io_uring, or through epoll where the kernel or a container refuses io_uring.
  TEXT
  spec.authors = ["The Polyphony 2 authors"]
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.1"
  spec.metadata = { "rubygems_mfa_required" => "true" }

  spec.files = rust + %w[Cargo.toml Cargo.lock README.md CHANGELOG.md LICENSE ruby-ext/extconf.rb] +
               Dir.glob("gem/{lib,examples}/**/*.{rb,md}", base: root) + Dir.glob("sig/**/*.{rbs,yaml}", base: root) +
               Dir.glob("include/*.h", base: root)
  spec.extensions = ["ruby-ext/extconf.rb"]
  spec.require_paths = ["gem/lib"]
end
