# frozen_string_literal: true

require_relative "../support/snippets"

# What the documents show, run as it stands there: each snippet in a process of its own.
RSpec.describe "the guides" do
  root = File.expand_path("../..", __dir__)
  guides = Dir["#{root}/docs/*.md"].sort

  guides.each do |guide|
    Snippets.of(guide).each do |snippet|
      it "#{snippet.file}:#{snippet.line} does what it says" do
        out, err, status = Child.ruby(snippet.program)
        expect([status.success?, err]).to eq([true, ""]), "#{status}\n#{err}\n#{out}"
      end
    end
  end

  it "check values, or they would prove little" do
    expect(guides.sum { |guide| Snippets.of(guide).sum(&:checks) }).to be > 50
  end

  it "notice a value that is not what the text says" do
    wrong = Snippets::Snippet.new("here", 1, "spin { 1 }\n  .await # => 2\n")
    _, err, status = Child.ruby(wrong.program)
    expect([status.success?, err]).to eq([false, "line 3: 1, not 2\n"])
  end
end
