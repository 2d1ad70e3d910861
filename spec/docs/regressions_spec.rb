# frozen_string_literal: true

RSpec.describe "docs/regressions.md" do
  root = File.expand_path("../..", __dir__)
  rows = File.readlines(File.join(root, "docs", "regressions.md")).filter_map do |line|
    line.match(/^\| [^|]+ \| `([^`]+)` \| `([^`]+)` \|$/)&.captures
  end

  def self.names(text) = text.scan(/^\s*(?:it\(?\s?"|(?:pub )?fn )(.+)/).flatten

  it "names examples that exist" do
    names = Hash.new { |all, file| all[file] = self.class.names(File.read(File.join(root, file))) }
    missing = rows.reject { |file, example| names[file].any? { |name| name.start_with?(example) } }
    expect(missing).to be_empty
    expect(rows.size).to be > 100
  end

  it "has a row in every line of its tables" do
    lines = File.readlines(File.join(root, "docs", "regressions.md")).grep(/^\|/).grep_v(/^\|(---| behaviour )/)
    expect(rows.size).to eq lines.size
  end
end
