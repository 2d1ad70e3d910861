# frozen_string_literal: true

require "pty"

# A terminal of its own; other fibers run while the prompt waits.
RSpec.describe "A terminal" do
  # The fiber says that it is ready while the prompt waits, and only then is anything typed.
  SESSION = <<~'RUBY'
    require "io/console"
    $stdout.sync = true
    spin { 5.times { sleep 0.001 }; puts "ready" }
    answer = ANSWER
    puts "got #{answer.inspect}"
  RUBY

  # Runs a session; what it got.
  def typed(answer, keys, *options)
    reader, writer, pid = PTY.spawn({ "TERM" => "xterm" }, *Child::RUBY, "-I", Child::LIBRARY, "-rpolyphony", *options, "-e", SESSION.sub("ANSWER", answer))
    closing(reader, writer)
    said = +""
    until said =~ /got (.*?)\r?\n/
      piece = reader.readpartial(4096)
      said << piece
      writer << "\e[1;1R" if piece.include?("\e[6n") # where is the cursor?
      next unless said.include?("ready") && (said.include?("> ") || !answer.include?("> "))

      writer << keys
      keys = ""
    end
    Regexp.last_match(1)
  ensure
    Process.wait(pid) if pid
  end

  {
    "$stdin.getch" => ["a", '"a"'], "$stdin.raw { |io| io.getc }" => ["b", '"b"'],
    "$stdin.noecho(&:gets)" => ["c\n", '"c\n"'], "$stdin.gets" => ["d\n", '"d\n"'],
    "$stdin.getch(intr: true)" => ["g", '"g"'], "IO.console.getch" => ["h", '"h"'],
    "IO.console.raw { |io| io.readpartial(9) }" => ["i", '"i"'], "($stdin.raw!) && $stdin.getc.tap { $stdin.cooked! }" => ["j", '"j"'],
    "$stdin.raw { |io| io.cooked { io.gets } }" => ["k\n", '"k\n"'], "$stdin.getpass('> ')" => ["l\n", '"l"'],
    "IO.console.getpass('> ')" => ["m\n", '"m"'], "spin { IO.console.getpass('> ') }.await" => ["n\n", '"n"'],
    "($stdin.echo = false) || $stdin.gets.tap { $stdin.echo = true }" => ["o\n", '"o\n"'],
    "($stdin.winsize = [10, 20]) && $stdin.gets + $stdin.winsize.inspect" => ["p\n", '"p\n[10, 20]"'],
    "(mode = $stdin.console_mode) && ($stdin.console_mode = mode.raw) && $stdin.getc.tap { $stdin.console_mode = mode }" => ["q", '"q"'],
    "$stdin.raw(min: 2) { |io| io.readpartial(2) }" => ["rs", '"rs"'], "$stdin.iflush && $stdin.readline" => ["t\n", '"t\n"'],
    "[gets, $_]" => ["u\n", '["u\n", "u\n"]'], "[readline(chomp: true), $_]" => ["v\n", '["v", "v"]'],
    "readlines" => ["w\nx\n\x04", '["w\n", "x\n"]'],
    'require("reline") && Reline.readline("> ", false)' => ["e\r", '"e"'],
    'require("polyphony/adapters/readline") && Readline.readline("> ", false)' => ["f\r", '"f"']
  }.each do |answer, (keys, got)|
    it "lets others run while it waits for #{answer}" do
      expect(typed(answer, keys)).to eq got
    end
  end

  # The end of a terminal is said once: who asked again had to type it twice.
  {
    "$stdin.gets" => ["\x04", "nil"], "$stdin.read" => ["a\n\x04", '"a\n"'], "$stdin.eof?" => ["\x04", "true"],
    "[$stdin.gets, $stdin.gets]" => ["ab\x04\x04c\n", '["ab", "c\n"]'], "$stdin.readpartial(9) rescue $!.class" => ["\x04", "EOFError"]
  }.each do |answer, (keys, got)|
    it "ends for #{answer} where its end is typed" do
      expect(typed(answer, keys)).to eq got
    end
  end

  it "lets others run behind the prompt of IRB, which can use them" do
    session = 'require("irb") && IRB.setup(nil) && IRB.conf.store(:SAVE_HISTORY, nil) || IRB::Irb.new.run # > '
    expect(typed(session, "puts \"g\" + \"ot \#{spin { 6 * 7 }.await}\"\rexit\r")).to eq "42"
  end
end
