# frozen_string_literal: true

# The Ruby in a Markdown file, as programs that check themselves.
#
# Where a statement of the outermost level ends in `# => value`, its value must inspect as that.
module Snippets
  # One fenced block: where it stands, and its text.
  Snippet = Struct.new(:file, :line, :code) do
    # The program, every line where it was.
    def program
      lines = code.lines
      statements.each do |first, last|
        expected = lines[last - 1][/# => (.+)$/, 1] or next

        lines[first - 1] = "__is__((#{lines[first - 1]}"
        lines[last - 1] = lines[last - 1].sub(/\s*# => .+$/) { "), #{expected.dump}, #{line + last})" }
      end
      PRELUDE + lines.join
    end

    def checks = code.scan(/# => .+$/).size

    private

    # The first and the last line of each outermost statement.
    def statements
      verbose, $VERBOSE = $VERBOSE, nil # the values that the comments are about are "unused" to the parser
      root = RubyVM::AbstractSyntaxTree.parse(code).children.last
      nodes = root.type == :BLOCK ? root.children : [root]
      nodes.compact.map { |node| [node.first_lineno, node.last_lineno] }
    ensure
      $VERBOSE = verbose
    end
  end

  # One line, so that the snippet's own keep their numbers but for it.
  PRELUDE = <<~'RUBY'
    def __is__(value, expected, line) = value.inspect == expected ? nil : abort("line #{line}: #{value.inspect}, not #{expected}")
  RUBY

  def self.of(path)
    text = File.read(path)
    text.enum_for(:scan, /^```ruby\n(.*?)^```$/m).map do
      match = Regexp.last_match
      Snippet.new(File.basename(path), match.pre_match.count("\n") + 1, match[1])
    end
  end
end
