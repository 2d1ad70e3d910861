# frozen_string_literal: true

require "json"
require "open3"

# What spec/shared says of queues, locks, streams and sockets is no invention: it is run on stock Ruby, too.
RSpec.describe "The shared behaviours" do
  # The examples of spec/stock, run by a Ruby that knows nothing of the gem.
  def examples
    behaviours = File.expand_path("../stock/behaviours.rb", __dir__)
    command = ["timeout", "-k", "1", Child::LIMIT, *Child::RUBY, "-S", "rspec", "-O", File::NULL, "--format", "json", behaviours]
    out, = Thread.new { Open3.capture3(*command) }.value
    JSON.parse(out[/^\{.*\}$/]).fetch("examples")
  end

  it "are those of stock Ruby, where they are not about fibers" do
    all = examples
    failed = all.reject { |example| example["status"] == "passed" }
    expect(failed.map { |example| "#{example["full_description"]}: #{example.dig("exception", "message")}" }).to be_empty
    expect(all.size).to be > 200
  end
end
