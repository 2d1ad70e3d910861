# frozen_string_literal: true

require_relative "../support/terminal"

# IRB and Pry at a terminal, with fibers behind the prompt.
RSpec.describe "The prompt" do
  AT_PROMPT = /\(main\)[^\n]*> \z/
  IRB_STARTS = 'require "irb"; IRB.start'
  PRY_STARTS = 'require "pry"; Pry.config.color = false; Pry.config.pager = false; Pry.start(self)'
  IRB_OPTIONS = %w[-f --noautocomplete --nocolorize].freeze

  # Starts a prompt that has nobody's settings, in a home of its own.
  def session(script, arguments, *options)
    Dir.mktmpdir do |home|
      @terminal = Terminal.new(*Child::RUBY, "-I", Child::LIBRARY, *options, "-e", script, "--", *arguments,
                               env: { "HOME" => home, "XDG_DATA_HOME" => nil, "PRYRC" => "/dev/null", "INPUTRC" => "/dev/null" })
      yield @terminal
    ensure
      @terminal&.close
    end
  end

  # Types a line when it is asked for one.
  def enter(line) = @terminal.type("#{line}\r", at: AT_PROMPT)

  # The session ends well; what it said at the end.
  def leave
    enter "exit"
    ended(*@terminal.finish)
  end

  def ended(said, status)
    expect(status.exitstatus).to eq 0
    said
  end

  pry = Gem::Specification.find_all_by_name("pry").any? || system(RbConfig.ruby, "-rpry", "-e", "0", out: File::NULL, err: File::NULL)
  readline = system(RbConfig.ruby, "-rreadline", "-e", "exit Readline.method(:readline).source_location.nil?", err: File::NULL)
  {
    "IRB" => [IRB_STARTS, IRB_OPTIONS, "-rpolyphony/adapters/irb"],
    "IRB on Readline" => [IRB_STARTS, [*IRB_OPTIONS, "--nomultiline"], "-rpolyphony/adapters/irb", (readline || "Readline in C is not installed")],
    "Pry" => [PRY_STARTS, [], "-rpolyphony/adapters/pry", (pry || "pry is not installed")]
  }.each do |name, (script, arguments, option, there)|
    context "of #{name}", software: "irb, pry", way: "drop-in", skip: (there if there.is_a?(String)) do
      around { |example| session(script, arguments, option) { example.run } }

      it "evaluates, and lets fibers run while it waits for a line" do
        enter "spin { loop { sleep 0.001; $ticks = $ticks.to_i + 1; if $ticks == 40; puts %(forty) + %( ticks); break; end } }; 6 * 7"
        @terminal.answer(/=> 42\b/)
        @terminal.answer(/forty ticks/)
        @terminal.type "$ticks.to_s + %( counted)\r"
        @terminal.answer(/=> "40 counted"/)
        enter "spin { 6 * 8 }.await"
        @terminal.answer(/=> 48\b/)
        leave
      end

      it "tells of what fails behind it, and goes on" do
        enter "spin { sleep 0.05; raise %(gone) + %(wrong) }; 6 * 7"
        @terminal.answer(/=> 42\b/)
        @terminal.answer(/gonewrong/)
        @terminal.type "spin { raise %(fi) + %(rst) }; raise %(se) + %(cond)\r"
        @terminal.answer(/second/)
        @terminal.answer(/first/)
        @terminal.type "6 * 8\r"
        @terminal.answer(/=> 48\b/)
        leave
      end

      it "drops the line at Ctrl-C" do
        enter "$told = 0; spin { sleep }; 6 * 7"
        @terminal.answer(/=> 42\b/)
        @terminal.type("$told = 1;", at: AT_PROMPT)
        @terminal.answer(/told = 1;/)
        @terminal.type "\x03"
        enter "$told + 47"
        @terminal.answer(/=> 47\b/)
        leave
      end

      it "ends at Ctrl-C what it evaluates, and leaves alone what is behind it" do
        enter "$behind = spin { loop { sleep 0.001 } }; 6 * 7"
        @terminal.answer(/=> 42\b/)
        ["sleep", "spin { sleep }.await", "loop { }", "IO.pipe.first.read"].each do |line|
          enter "puts %(at) + %( it); #{line}"
          @terminal.answer(/at it/)
          @terminal.type "\x03"
          @terminal.answer(/Interrupt|abort/)
        end
        enter "$behind.alive?.to_s + %( still)"
        @terminal.answer(/=> "true still"/)
        leave
      end

      {
        "the end of its input" => -> { ended(*@terminal.tap { |it| it.answer(AT_PROMPT) }.insist("\x15\x04") { @terminal.finish }) },
        "exit" => -> { leave }
      }.each do |what, ending|
        it "ends with its fibers at #{what}" do
          enter "spin do sleep; ensure; puts %(the) + %( end); end; snooze; 6 * 7"
          @terminal.answer(/=> 42\b/)
          expect(instance_exec(&ending)).to include("the end")
        end
      end

      it "takes several lines, and knows the earlier ones" do
        enter "spin { loop { sleep 0.001 } }; def twice(number)"
        @terminal.type "number * 2\r"
        @terminal.type "end\r"
        @terminal.answer(/=> :twice/)
        enter "twice(24)"
        @terminal.answer(/=> 48\b/)
        @terminal.type("\e[A", at: AT_PROMPT)
        @terminal.answer(/twice\(24\)/)
        @terminal.type "\r"
        @terminal.answer(/=> 48\b/)
        leave
      end
    end
  end

  # Failures behind the prompt, and Ctrl-C.
  def expect_a_prompt_with_fibers
    enter "spin { sleep 0.01; raise %(gone) + %(wrong) }; 6 * 7"
    @terminal.answer(/gonewrong/)
    @terminal.type "puts %(at) + %( it); sleep\r"
    @terminal.answer(/at it/)
    @terminal.type "\x03"
    enter "6 * 8"
    @terminal.answer(/=> 48\b/)
    leave
  end

  it "of IRB needs no more than the drop-in" do
    session(IRB_STARTS, IRB_OPTIONS, "-rpolyphony") { expect_a_prompt_with_fibers }
  end

  it "of IRB takes the drop-in when it is there already" do
    session(IRB_STARTS, IRB_OPTIONS) do
      enter "require %(polyphony)"
      @terminal.answer(/=> true/)
      expect_a_prompt_with_fibers
    end
  end

  it "of Pry needs no more than the drop-in", skip: ("pry is not installed" unless pry) do
    session(PRY_STARTS, [], "-rpolyphony") { expect_a_prompt_with_fibers }
  end
end
