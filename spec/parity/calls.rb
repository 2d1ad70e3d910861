# frozen_string_literal: true

# Sequences of calls that stand each for itself: of each, what came of it, `$?` and `$_`, and at the end the files
# that it left. A family lists its CALLS, where CODE, LEN and TEXT stand for what the seed says, and gives the
# place where they are called.
class Calls
  LENGTHS = [0, 1, 2, 3, 5, 9, 20, 100, 9000, 70_000].freeze
  TEXTS = ['""', '"a"', '"é\n"', '"lines\n" * 300', '"\\xff\\0"', '"z" * 70_000', '"ab".encode("utf-16le")', '"b".b', "Random.new(1).bytes(5000)", ":symbol", "nil", "12"].freeze

  def initialize(seed, kept)
    @random = Random.new(seed)
    @steps = Array.new(@random.rand(2..6)) { step }
    @steps = kept.map { |number| @steps.fetch(number) } if kept
  end

  def run(transcript)
    Dir.mktmpdir("parity") do |directory|
      path = File.join(directory, "file")
      File.write(path, "")
      perform(transcript, place(path))
      transcript.say("files", Dir.children(directory).sort.map { |name| "#{name} #{contents(File.join(directory, name))}" }.join("; "))
    end
  end

  def inspect = "#<#{self.class.name}>"

  private

  def step
    words = { "CODE" => @random.rand(0..5), "LEN" => LENGTHS[@random.rand(LENGTHS.size)], "TEXT" => TEXTS[@random.rand(TEXTS.size)] }
    calls = self.class::CALLS
    calls[@random.rand(calls.size)].gsub(/\b(CODE|LEN|TEXT)\b/) { |word| words[word].to_s }
  end

  def perform(transcript, place)
    @steps.each do |source|
      transcript.doing = source
      answer = Transcript.answer { eval(source, place, "(step)", 1) }
      transcript.say(source, "#{answer} | $? #{$?.to_s.sub(/pid \d+ /, "")} $_ #{Transcript.word(eval("$_", place))}")
    end
  end

  def contents(path)
    return File.ftype(path) unless File.file?(path)

    bytes = File.binread(path)
    bytes.size > 200 ? "#{bytes.size}/#{bytes.hash_of}" : bytes.inspect
  end
end
