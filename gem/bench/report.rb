# frozen_string_literal: true

# Reads rows (`row`, name, unit, ours, reference's name, reference's figure, ratio, interval, goal; tab-separated)
# from standard input and writes a page of docs/benchmarks and its picture. A line `measured` says with what, where it
# was not this Ruby.
#
# usage: report.rb native|results|contract|schedulers
require "etc"
require "cgi"

Line = Struct.new(:name, :unit, :ours, :reference, :theirs, :ratio, :interval, :goal) do
  # A goal is met where the lower end of the interval is at or below it.
  def verdict
    return "" if goal.to_s.empty?
    return "not measured" if ours.empty?

    measured = [interval, absolute_goal? ? ours : ratio].find { |figure| !figure.to_s.empty? }
    measured.to_f <= goal.to_f ? "met" : "missed"
  end

  # A goal with a unit ("80 ns", "+40 ns") is about our figure, or about the difference: not about the ratio.
  def absolute_goal? = goal.match?(/[a-z]/)

  def theirs_in_words
    return reference if theirs.empty?

    "#{theirs} #{unit} (#{reference})"
  end
end

Page = Struct.new(:file, :picture, :title, :about)

PAGES = {
  "native" => Page.new("native.md", "native.svg", "Benchmarks of the native runtime", <<~ABOUT),
    Written by `bin/bench native`: fibers from Rust and C beside bare coroutines, bare rings and other runtimes, each on
    one core unless the row is about two. What each row does stands in `core/benches/native`, and in
    `core/benches/peers` what the others do for it, as one who knows them would write it; a runtime is left out of a row
    that it has nothing for. Some of what the figures hide:

    - A fiber has a stack, and touches a page or two of it; a task of an async runtime or a goroutine is a few words at
      first. That shows where all leaves of a skynet are there at once, and in the memory of parked readers, whose rows
      have no goal.
    - A fiber that is joined before it began runs at once, and glommio runs a task when it is spawned, up to its first
      wait: their skynets have a few at a time.
    - Timers of tokio, monoio and libuv are of milliseconds. They wake fewer times, later.
    - Ten thousand sleepers touch as many stacks for the first time. That is a fifth of what a sleep costs in the row of
      20 each; a timer of libuv's is a few words.
    - Where others use the core too, the p99 of lateness and the time that passes for reads from the disk are mostly
      their doing.
    - Go's and may's schedulers and tokio's may keep both ends of a channel on one of two workers; the row across two
      workers forces them apart, with a runtime a thread, or goroutines that are locked to theirs.
    - libuv, smol and tokio read files in threads; in Go it is the goroutine's own thread that waits.
    - What two workers do is measured by the thread that has worked most, since the load program or the neighbours need
      a core too.
  ABOUT
  "results" => Page.new("results.md", "ratios.svg", "Benchmarks", <<~ABOUT),
    Written by `bin/bench ruby`: bare fibers and a bare ring. What is asked of the Ruby API beside the original is in
    [contract.md](contract.md); the native runtime is in [native.md](native.md).
  ABOUT
  "contract" => Page.new("contract.md", "contract.svg", "Benchmarks beside the original", <<~ABOUT),
    Written by `bin/bench contract`, which wants a machine that does nothing else for five minutes. The rows use what
    Polyphony 1 has and nothing else. The reference is bare Ruby: a switch between two fibers, a fiber made and resumed,
    a fiber's memory. Polyphony 1.6 was measured once, beside its own bare Ruby, and those ratios are the goals
    (`gem/bench/original.tsv`): never more of them than the original, and two thirds at most for batches of spins, fired
    timeouts, cancellations, accepted connections and 10,000 fibers that snooze. Where the original hangs there is no
    goal.
  ABOUT
  "schedulers" => Page.new("schedulers.md", "schedulers.svg", "Benchmarks beside other schedulers", <<~ABOUT)
    Written by `bin/bench schedulers`. The scenarios that public benchmarks of fiber schedulers use, in stock Ruby: the
    same bodies in threads, as fibers of Async and of our scheduler alone (`require "polyphony/bare"`,
    `Polyphony::FiberScheduler`), and as spun fibers (drop-in). What is measured is the CPU time, user and system, of
    the process in which they run, but for lateness, and for system calls, which strace counts.

    With five pairs the interval is from the least to the most: a goal that the median misses is met by luck, if at all.

    The goals are of the ratio to Async on epoll: two thirds for pipes and five sixths of what a peer's low-level API
    takes there, the best peer's ratio for socketpairs, no more for queues and locks, 1 / 1.65 for HTTP and echo with the
    drop-in; 0.2 system calls a request, and 2 ms for the p99 lateness.

    Of Ruby 3.3, because Debian builds the C parts of io-event and pg for its default Ruby only; that io-event is built
    without io_uring. A drop-in's `Queue#pop` lets others run, also where an item is there, as Polyphony 1's does and its
    tests pin; with the scheduler alone it is Ruby's own. Much that is written to a file goes to a thread of the kernel's; a little is
    written at once. That of the scheduler alone is newer than these figures: "mutex, writes under it" was 1.20
    (1.17-1.56) of Async's in five pairs.
  ABOUT
}.freeze
PAGE = PAGES.fetch(ARGV.shift)

INPUT = $stdin.readlines(chomp: true)
MEASURED = INPUT.filter_map { |line| line[/\Ameasured\t(.*)/, 1] }.first || "Ruby #{RUBY_VERSION}"
LINES = INPUT.filter_map do |line|
  mark, *fields = line.split("\t", -1)
  Line.new(*fields) if mark == "row"
end
abort "report: no rows" if LINES.empty?

# How many goals there are, and those that are not met.
def goals
  goals = LINES.group_by(&:verdict)
  met, missed = %w[met missed].map { |verdict| goals.fetch(verdict, []).map(&:name) }
  "Goals met: #{met.size} of #{met.size + missed.size}.#{" Missed: #{missed.join("; ")}." if missed.any?}"
end

# What POLYPHONY_BENCH_PAIRS=1 gives has no intervals.
def look
  return "" if LINES.none? { |line| !line.ratio.empty? && line.interval.empty? }

  "**A look, no measurement**: rows without an interval were measured once, and may be far off.\n\n"
end

# The figures of rows of the same name beside several peers, in one line: of the row that is called "name (peer)".
def side_by_side
  beside = LINES.select { |line| line.name.end_with?(" (#{line.reference})") }
  return "" if beside.empty?

  peers = beside.map(&:reference).uniq
  rows = beside.group_by { |line| line.name.delete_suffix(" (#{line.reference})") }.map do |name, lines|
    theirs = lines.to_h { |line| [line.reference, line.theirs] }.values_at(*peers)
    ours = lines.map(&:ours).sort_by(&:to_f)[lines.size / 2]
    "| #{["#{name}, #{lines.first.unit}", ours, *theirs].join(" | ")} |"
  end
  ["| row | ours | #{peers.join(" | ")} |", "|---|#{"---|" * (peers.size + 1)}", *rows, ""].join("\n")
end

def markdown
  rows = LINES.map do |line|
    ours = line.ours.empty? ? "" : "#{line.ours} #{line.unit}"
    "| #{line.name} | #{ours} | #{line.theirs_in_words} | #{line.ratio} | " \
      "#{line.interval} | #{line.goal} | #{line.verdict} |"
  end
  <<~MARKDOWN
    # #{PAGE.title}

    #{PAGE.about}

    CPU time per unit of work (or wall time, where it waits; or bytes), the median of pairs of fresh
    processes, ours and the reference in turns; the interval is the 95 % interval of the median ratio. Absolute
    figures do not travel between machines, ratios mostly do. A goal is met where the interval's lower end is at
    or below it. A goal with a unit is about our figure, one with a sign too about the difference to the
    reference, and the interval then is that figure's or that difference's.

    Linux #{Etc.uname[:release][/\A[\d.]+/]}, #{Etc.nprocessors} processors, #{MEASURED}, #{`rustc --version`.split[0, 2].join(" ")}.

    #{look}#{goals}

    #{side_by_side}
    | row | ours | reference | ratio | interval | goal | |
    |---|---|---|---|---|---|---|
    #{rows.join("\n    ").gsub(/^ +/, "")}

    ![ratios](#{PAGE.picture})
  MARKDOWN
end

# A bar a row, as long as its ratio; a tick where the goal is. 1 is the reference.
def svg
  left, step, height = 290, 24, 12
  lines = LINES.reject { |line| line.ratio.empty? }
  goals = lines.map { |line| line.absolute_goal? ? 0.0 : line.goal.to_f }
  scale = 360.0 / [*lines.map { |line| line.ratio.to_f }, *goals, 1].max
  bars = lines.each_with_index.map do |line, i|
    y = 30 + (i * step)
    goal = left + (goals[i] * scale)
    [%(<text x="#{left - 8}" y="#{y + height - 2}" text-anchor="end">#{CGI.escapeHTML(line.name)}</text>),
     %(<rect x="#{left}" y="#{y}" width="#{(line.ratio.to_f * scale).round(1)}" height="#{height}" fill="#{line.verdict == "missed" ? "#c0563f" : "#3f7fc0"}"/>),
     %(<text x="#{(left + (line.ratio.to_f * scale) + 6).round(1)}" y="#{y + height - 2}">#{line.ratio}</text>),
     (%(<line x1="#{goal}" x2="#{goal}" y1="#{y - 3}" y2="#{y + height + 3}" stroke="#000" stroke-width="2"/>) if goals[i].positive?)]
  end
  bottom = 30 + (lines.size * step)
  <<~SVG
    <svg xmlns="http://www.w3.org/2000/svg" width="730" height="#{bottom + 10}" font-family="sans-serif" font-size="12">
    <rect width="100%" height="100%" fill="#fff"/>
    <text x="#{left}" y="16">times the reference (dashed: 1); black tick: the goal</text>
    <line x1="#{left + scale}" x2="#{left + scale}" y1="24" y2="#{bottom}" stroke="#888" stroke-dasharray="3"/>
    #{bars.flatten.compact.join("\n")}
    </svg>
  SVG
end

directory = File.expand_path("../../docs/benchmarks", __dir__)
File.write("#{directory}/#{PAGE.file}", markdown)
File.write("#{directory}/#{PAGE.picture}", svg)
LINES.each { |line| puts format("%-44s %10s %10s %-5s ratio %-6s goal %-10s %s", *line.values_at(0, 2, 4, 1, 5, 7), line.verdict) }
