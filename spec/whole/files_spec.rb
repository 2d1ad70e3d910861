# frozen_string_literal: true

# The spec of gem/lib/polyphony/X.rb is spec/polyphony/X_spec.rb. What is about several files is elsewhere:
# `extensions/` across the overrides, `examples/` and `docs/` for the programs and the guides, and here for
# the gem as a whole.
RSpec.describe "The library's files" do
  root = File.expand_path("../../gem/lib", __dir__)
  specs = File.expand_path("..", __dir__)

  # Those that have no spec of their own, and what tells of them.
  told_elsewhere = {
    "polyphony/adapters/fs" => "adapters/libraries_spec.rb", # each with its library
    "polyphony/adapters/irb" => "adapters/prompts_spec.rb",
    "polyphony/adapters/mysql2" => "adapters/libraries_spec.rb",
    "polyphony/adapters/open3" => "adapters/libraries_spec.rb",
    "polyphony/adapters/postgres" => "adapters/libraries_spec.rb",
    "polyphony/adapters/process" => "adapters/libraries_spec.rb",
    "polyphony/adapters/pry" => "adapters/prompts_spec.rb",
    "polyphony/adapters/readline" => "adapters/prompts_spec.rb",
    "polyphony/adapters/redis" => "adapters/libraries_spec.rb",
    "polyphony/adapters/sequel" => "adapters/libraries_spec.rb",
    "polyphony/adapters/trace" => "adapters/libraries_spec.rb",
    "polyphony/core/channel" => "whole/contract_spec.rb", # these lead to where things are now
    "polyphony/core/exceptions" => "whole/contract_spec.rb",
    "polyphony/core/resource_pool" => "whole/contract_spec.rb",
    "polyphony/core/sync" => "whole/contract_spec.rb",
    "polyphony/core/thread_pool" => "whole/contract_spec.rb",
    "polyphony/core/throttler" => "whole/contract_spec.rb",
    "polyphony/core/timer" => "whole/contract_spec.rb",
    "polyphony/extensions" => "extensions/parity_spec.rb", # the table of all overrides
    "polyphony/extensions/console" => "extensions/console_spec.rb",
    "polyphony/extensions/fiber/ending" => "polyphony/extensions/fiber_spec.rb", # a fiber is shown as a whole
    "polyphony/extensions/fiber/family" => "polyphony/extensions/fiber_spec.rb",
    "polyphony/extensions/fiber/life" => "polyphony/extensions/fiber_spec.rb",
    "polyphony/extensions/lock_extras" => "polyphony/extensions/mutex_spec.rb", # beside the locks themselves
    "polyphony/extensions/openssl" => "polyphony/extensions/late_spec.rb", # one more way to load it
    "polyphony/extensions/openssl/handshakes" => "polyphony/extensions/openssl/sockets_spec.rb", # as a server shows them
    "polyphony/extensions/prompts" => "adapters/prompts_spec.rb",
    "polyphony/extensions/readline" => "adapters/prompts_spec.rb",
    "polyphony/extensions/paths" => "whole/frozen_spec.rb", # with all else that must not hold the thread
    "polyphony/extensions/ractor" => "whole/frozen_spec.rb",
    "polyphony/extensions/zlib" => "whole/frozen_spec.rb",
    "polyphony/gathering" => "polyphony/extensions/fiber_spec.rb", # private: how fibers wait for many
    "polyphony/origin" => "polyphony/extensions/exception_spec.rb", # private: what backtraces are made of
    "polyphony/selecting" => "polyphony/fiber_scheduler_spec.rb", # private: what IO.select and its hook share
    "polyphony/version" => "whole/files_spec.rb" # here
  }

  own_spec = ->(file) { "#{file}_spec.rb" }
  library = Dir["**/*.rb", base: root].map { |file| file.delete_suffix(".rb") }.sort

  it "have each a spec where its name says, or elsewhere for a reason" do
    without = library.reject { |file| File.exist?(File.join(specs, own_spec.call(file))) }
    expect(without).to match_array told_elsewhere.keys
    expect(told_elsewhere.values.uniq.reject { |spec| File.exist?(File.join(specs, spec)) }).to be_empty
  end

  it "have each a name for every spec that stands where a file's does" do
    named = Dir["polyphony{_spec.rb,/**/*_spec.rb}", base: specs]
    expect(named - library.map(&own_spec)).to be_empty
  end

  it "carry the version of the crates" do
    crates = File.read(File.join(root, "../../Cargo.toml"))[/^version = "(.+)"/, 1]
    expect(Polyphony::VERSION).to eq crates.sub("-pre.", ".pre")
  end

  # Those in `extensions`, and those that `bare` or `extensions` are made of, are no entrances of their own.
  public_files = %w[polyphony polyphony/bare polyphony/version polyphony/exceptions] +
                 Dir[File.join(root, "polyphony", "{adapters,core}", "*.rb")].sort.map { |file| file[%r{polyphony/(?:adapters|core)/\w+}] } +
                 %w[backend backend_io channel event locks pipe process resource_pool shield thread_pool throttler timer].map { |file| "polyphony/#{file}" }
  public_files.each do |file|
    it "have #{file}, which can be required alone, silently, under -w" do
      out, err, status = Child.ruby("require #{file.inspect}", loaded: "rbconfig", before: [])
      skip "#{Regexp.last_match(1)} is not installed" if err =~ /cannot load such file -- (?!polyphony)(\S+) \(LoadError\)/
      expect([out, err, status.success?]).to eq ["", "", true]
    end
  end

  it "say nothing under -w" do
    files = Dir[File.join(root, "**", "*.rb")]
    said = Child.ruby("ARGV.each { |file| RubyVM::InstructionSequence.compile_file(file) }; puts ARGV.size", *files)
    expect([said[0].to_i, said[1]]).to eq [files.size, ""]
  end
end
