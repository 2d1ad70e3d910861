# frozen_string_literal: true

RSpec.describe Polyphony::OriginalNames do
  it "name what stock Ruby does" do
    thread = Thread.new { :value }
    expect([thread.orig_join, thread.orig_inspect]).to match [thread, /Thread/]
    expect([orig_backtick("echo out"), orig_system("exit 3"), $?.exitstatus, orig_sleep(0)]).to eq ["out\n", false, 3, 0]
  end

  it "name methods that no extension overrides" do
    stock = %i[orig_sleep orig_backtick orig_gets orig_p orig_system orig_trap].map { |name| Kernel.instance_method(name).owner }
    expect(stock.uniq).to eq [Kernel]
    expect(Thread.instance_method(:orig_join).source_location).to be_nil
  end
end
