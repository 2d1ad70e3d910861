# frozen_string_literal: true

require_relative "calls"

# Sequences of calls that start programs and wait for them, and the other functions of Kernel.
class Commands < Calls
  CALLS = [
    'system("exit CODE")', 'system("true")', 'system("echo hi >&2", err: File::NULL)', 'system("no such program")', 'system("no", "such program", exception: true) rescue $!.class', 'system("exit CODE", exception: true)', 'system({ "A" => "1" }, "test $A = 1")', 'system(["sh", "shell"], "-c", "exit 4")', "system", 'system("echo x > #{path}"); File.read(path)',
    'system("kill -9 $$")', 'system("kill -TERM $$")', 'system("echo in >> #{path}", chdir: "/")', 'system("true", bad: 1)',
    '`echo a; exit CODE`', '`printf "é"`', "`no such program`", '`exit CODE`', '`cat`', '`echo b >&2`', "%x(echo c | tr c d)", '`printf "a\r\nb"`',
    'pid = spawn("exit CODE"); Process.wait(pid) == pid', 'pid = spawn("exit CODE"); Process.wait2(pid).last', 'pid = spawn("exit CODE"); Process.waitpid(pid, 0) == pid', "Process.wait", "Process.wait(-1, Process::WNOHANG)", "Process.waitall", 'pids = [spawn("exit 1"), spawn("sleep 0.02; exit 2")]; Process.waitall.map { |pid, s| [pids.include?(pid), s.exitstatus] }.sort_by(&:last)',
    'pid = spawn("sleep 60"); [Process.wait(pid, Process::WNOHANG), Process.kill(:TERM, pid), Process.wait(pid) == pid]', 'Process.detach(spawn("exit CODE")).value', 'Process.detach(spawn("true")).join.class == nil', "spawn(\"no such program\")", "spawn", 'pid = spawn("echo out", out: path); Process.wait(pid); File.read(path)', 'pid = spawn("cat", in: path, out: File::NULL); Process.wait2(pid).last',
    'pid = fork { exit CODE }; Process.wait2(pid).last', 'pid = fork { exit!(CODE) }; Process.wait(pid); $?', 'pid = fork { raise SystemExit }; Process.wait2(pid).last', 'pid = fork { abort }; Process.wait2(pid).last', 'pid = fork { File.write(path, "child") }; Process.wait(pid); File.read(path)', 'pid = fork { at_exit { File.write(path, "at exit") }; exit }; Process.wait(pid); File.read(path)', 'pid = fork { throw :x }; Process.wait2(pid).last.exitstatus', 'pid = fork { Process.kill(:KILL, $$) }; Process.wait2(pid).last', 'pid = fork { exec("exit CODE") }; Process.wait2(pid).last', 'pid = fork { sleep 0.001; exit CODE }; Process.wait2(pid).last', 'pid = fork { Thread.new { exit CODE }.join }; Process.wait2(pid).last', 'fork { }.then { |pid| Process.waitpid2(pid).last }',
    'exec("no such program")', "exec", 'exec("sh", chdir: "/nowhere")', "Process.last_status", "$?.exitstatus", "$?&.success?", "$?.termsig", "$?.to_i", "Process.wait(999_999_999)", 'Process.wait("x")', "Process.kill(0, $$)", 'Process.kill("NOPE", 1)', "Process.kill(0, 999_999_999)",
    'IO.popen("exit CODE").close', 'IO.popen("exit CODE", &:read)', 'IO.popen(["echo", "é"], &:read)', 'IO.popen("cat", "r+") { |io| io.write("x\ny"); io.close_write; io.readlines }', 'IO.popen("cat", "w", out: path) { |io| io.puts "piped" }; File.read(path)', 'io = IO.popen("cat", "r+"); io << "a"; io.close_write; [io.gets, io.gets, io.close]', 'IO.popen("echo l; exit CODE") { |io| io.each_line.to_a }', 'IO.popen("-") { |io| io ? io.read : print("from child") }', 'IO.popen("no such program")', 'IO.popen(["no such program"])', 'IO.popen({ "B" => "2" }, "echo $B").then { |io| [io.read, io.close] }', 'IO.popen("true").then { |io| [io.pid.class, io.close, io.pid] }', 'IO.popen("kill -9 $$").close', 'IO.popen("echo x", external_encoding: "iso-8859-1").then { |io| io.read.tap { io.close } }', "IO.popen", 'open("|echo piped") { |io| io.read }', 'IO.read("|echo piped")', 'IO.readlines("|echo a; echo b")',
    "sleep(0)", "sleep(0.001)", "sleep(-1)", 'sleep("x")', "sleep(1, 2)", "sleep(0r)", "loop { break 3 }", "loop { raise StopIteration, \"over\" }", "catch(:a) { throw :a, 4 }", "throw :nobody", "catch { |tag| throw tag, 1 }", 'Timeout.timeout(5) { 6 }', 'Timeout.timeout(0.001) { sleep }', 'Timeout.timeout(0.001, ArgumentError) { sleep }', 'Timeout.timeout(0.001, ArgumentError, "slow") { sleep }', "Timeout.timeout(nil) { 7 }", "Timeout.timeout(0) { 8 }", "Timeout.timeout(-1) { 9 }", 'Timeout.timeout(0.001) { IO.pipe.first.read }', 'Timeout.timeout(0.001) { Thread::Queue.new.pop }', 'Timeout.timeout(0.001) { begin; sleep; ensure; File.write(path, "ensured"); end }', "IO.select([], [], [], 0.001)", "IO.select(nil, nil, nil, 0)", "IO.select([1], nil, nil, 0)", "select(nil, nil, nil, -1)", 'IO.select([IO.pipe.first], nil, nil, 0.001)', 
    'trap("USR1") { File.write(path, "usr1") }; Process.kill(:USR1, $$); sleep 0.01; File.read(path)', 'trap("USR1", "IGNORE").class', 'trap("USR1", "DEFAULT").class', 'trap("NOPE") { }', "trap(\"KILL\") { }", 'trap("USR2", nil)', 'trap("EXIT", "DEFAULT")',
    "Thread.new { 5 }.value", "Thread.new { Thread.current.report_on_exception = false; raise \"in thread\" }.value", "Thread.new { Thread.stop; 6 }.then { |t| sleep 0.001 until t.stop?; t.wakeup; t.value }", "Thread.new { Thread.current[:a] = 1; Thread.current[:a] }.value", "Thread.new { sleep }.kill.join.status", "Thread.new { throw :t }.tap { |t| t.report_on_exception = false }.join", "Thread.new { sleep }.then { |t| t.report_on_exception = false; sleep 0.001 until t.stop?; t.raise(\"stop\"); t.join }", "Fiber.new { |x| Fiber.yield(x + 1) }.resume(1)", "f = Fiber.new { raise \"in fiber\" }; f.resume", "f = Fiber.new { 1 }; [f.resume, f.alive?, (f.resume rescue $!.class)]", "[1, 2].each.then { |e| [e.next, e.next, (e.next rescue $!.message)] }", "Enumerator.new { |y| y << 1 << `echo 2`; sleep 0.001; y << 3 }.then { |e| [e.next, e.next, e.next] }", "Process.pid.class", "gets", "readline", "readlines", "rand(1)", "srand(1).class", "binding.local_variables.class", "caller(0).size.class", "test(?e, path)", "open(path, \"w\") { |f| f << \"k\" }.class", 'warn("w")', "p", "p(1, 2)", "print", 'putc("x")', "puts([[], nil])", 'printf("%d", 3)', 'printf', "$stderr.write(\"\")", "syscall(-1)", "Process.clock_gettime(0).class", "Process.getpgid(0).class", "begin; exit(CODE); rescue SystemExit; $!.status; end", "begin; abort; rescue SystemExit; $!.status; end", 'begin; abort("m"); rescue SystemExit; $!.message; end', "begin; exit(false); rescue SystemExit; $!.success?; end", "raise \"plain\"", "raise ArgumentError", "raise Class", "raise \"a\" rescue raise TypeError, \"b\"", "begin; raise \"a\"; rescue; (raise \"b\" rescue $!.cause.message); end", "$!", "at_exit", "autoload(:Nope, \"nope\")", "require \"nope\""
  ].freeze

  def run(transcript)
    super
  ensure
    %w[USR1 USR2].each { |name| trap(name, "DEFAULT") }
  end

  private

  def perform(transcript, place)
    Process.wait(fork { exit!(0) })
    super
  end

  # The frame whose `$_` the steps see; nothing has ended in it yet.
  def place(path) = binding
end
