# frozen_string_literal: true

require "tmpdir"

RSpec.describe Dir do
  # Where others run in between, what is found is put together by ourselves.
  it "finds in a large directory what stock Ruby finds there, in its order" do
    parts = ["a", "b", "c", ".", "*", "?", "[ab]", "[^a]", "[x", "{", "}", ",", "\\", "{a,b}", "{,a}", "{a*,.*}", "{a,{b,c}}", "\\*", "\\{", "é", "**", "/", "sub"]
    flags = [0, 0, 0, File::FNM_DOTMATCH, File::FNM_EXTGLOB, File::FNM_NOESCAPE, File::FNM_CASEFOLD]
    Dir.mktmpdir do |directory|
      names = ["a", "ab", "abc", ".a", ".b", "a*b", "a{b}", "a,b", "é", "[x]", "a\\b", "A", *Array.new(300) { |number| "f#{number}#{"long" * 20}" }]
      names.each { |name| File.write("#{directory}/#{name}", "") }
      Dir.mkdir("#{directory}/sub")
      patterns = Array.new(300) { [Array.new(random.rand(1..5)) { parts.sample(random: random) }.join, flags.sample(random: random), random.rand(2).zero?] }
      found = -> { patterns.map { |pattern, flag, sorted| Dir.glob(pattern, flag, base: directory, sort: sorted) } }
      stock = Thread.new(&found).value
      ours = spin(&found).await
      expect(patterns.zip(stock, ours).reject { |_, *both| both.uniq.one? }).to eq []
    end
  end
end
