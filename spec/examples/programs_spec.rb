# frozen_string_literal: true

require_relative "../support/programs"
require "socket"
require "tempfile"
require "tmpdir"
require "zlib"

# The programs of gem/examples, run as a reader would run them.
RSpec.describe "the example programs" do
  include Programs

  files = Dir["#{Programs::DIRECTORY}/*.rb"].sort
  names = files.map { |file| File.basename(file, ".rb") }

  # What those print that need nobody to talk to.
  printed = {
    "actor" => "withdrawals that went through: 2\nbalance: 80\n",
    "barrier" => "0 0 0 1 1 1 2 2 2\n",
    "bounded_buffer" => "eaten: 20, each once: true, at most 3 at once\n",
    "circuit_breaker" => <<~TEXT,
      no answer (closed)
      no answer (open)
      left alone (open)
      no answer (open)
      fine (closed)
    TEXT
    "commands" => <<~TEXT,
      backticks
      POPEN
      open3
      system: 3
      wait: 4
      detach: 5
      the counter went on: true
    TEXT
    "connection_pool" => "0 2 4 6 8 10 12 14 16 18\nconnections: 3, free again: 3\n",
    "cron" => "report: no paper\n5 backups, reports: 0 to come\n",
    "debounce" => "saved \"hello\"\nsaved \"hello, world\"\n",
    "dining_philosophers" => <<~TEXT,
      Aristotle ate 3 times
      Kant ate 3 times
      Spinoza ate 3 times
      Marx ate 3 times
      Russell ate 3 times
      forks on the table: 5
    TEXT
    "first_result" => <<~TEXT,
      near is through
      first: near, "near answers"
      far is through
      dead is through
      alive: 0
    TEXT
    "game_of_life" => <<~TEXT,
      ........
      ........
      ...#....
      ....#...
      ..###...
      ........
    TEXT
    "generic_server" => "5\n10\ncrashed: invalid value for Integer(): \"many\"\n1\n",
    "heartbeat" => "ann was silent after 3 beats\nbob was silent after 7 beats\n",
    "job_queue" => "steady: done at try 1\nshaky: done at try 2\nhopeless: given up, never\n",
    "lookup_cache" => "48 72\nlookups: 1 1\nlater: 2 1\n",
    "nested_scopes" => <<~TEXT,
      walls
      windows
      roof
      closed
      built
      garden left undone
      failed: no more bricks
      alive: 0
    TEXT
    "parallel_map" => "55 89 144 233 377 610 987 1597 2584 4181 6765\nno result: divided by 0\n",
    "ping_pong" => "fibers: 1000\nthreads: 1000\n",
    "pipeline" => "<1> <9> <25> <49> <81> <121> <169> <225> <289> <361>\n",
    "prime_sieve" => "2 3 5 7 11 13 17 19 23 29 31 37 41 43 47 53 59 61 67 71\n",
    "process_pool" => <<~TEXT,
      91 = 7*13
      97 = 97
      1024 = 2*2*2*2*2*2*2*2*2*2
      1000003 = 1000003
      6469693230 = 2*3*5*7*11*13*17*19*23*29
      2 workers ended well
    TEXT
    "pubsub" => <<~TEXT,
      carl heard rain
      ann heard hello, goodbye
      bob heard hello, goodbye
      left: 0 for news, 1 for weather
    TEXT
    "race" => "1. hare after 4 steps\n2. fox after 6 steps\n3. tortoise after 9 steps\n",
    "rate_limiter" => "at once: 5\nten more took their time: true\n",
    "rpc" => <<~TEXT,
      6
      first asked, last asked
      the server answered: last asked, first asked
      error: String can't be coerced into Integer
    TEXT
    "shield" => "polite said goodbye\nall ended: true\n",
    "state_machine" => "closed -> locked -> closed -> opened -> closed -> opened -> alarm -> closed\n",
    "supervised_workers" => <<~TEXT,
      worker 0: job 3 is too odd
      done: 1 2 4 5 6
      alive: worker 0, worker 1
    TEXT
    "thread_pool" => <<~TEXT,
      7279ecbb5212b064
      0ce6b21fb8e563b5
      c95943e9a4aeb647
      20ed2d48e294fca2
      invalid value for Integer(): "a pool hands errors on"
      the fibers went on: true
    TEXT
    "timeouts" => "too late\nTooSlow\nexecution expired\ninner\npart 0, part 1, part 2\ntry 2 succeeded\n"
  }

  printed.each do |name, text|
    it("#{name} prints what it should") { expect(run_program(name)).to eq(text) }
  end

  talked_to = Hash.new(false)
  # An example about one program, which counts as tried.
  define_singleton_method(:program) do |name, does, &block|
    talked_to[name] = true
    it("#{name} #{does}", &block)
  end

  program("broadcast", "loses nothing for the fast, and for the slow only what is old") do
    fast, slow, newest = run_program("broadcast").lines
    expect(fast).to eq("fast heard 12, lost 0\n")
    expect(slow).to match(/\Aslow heard \d+ and lost [1-9]\d*: 12 in all\n\z/)
    expect(newest).to eq("the slow one's last is the newest: true\n")
  end

  program("progress_bar", "keeps the bar apart from the result") do
    bar = /\r\[={40}\] 100 %\n\z/
    expect(run_program("progress_bar", complaints: bar)).to eq("the sum is 1275\n")
  end

  program("sleep_sort", "sorts") { expect(run_program("sleep_sort", 30, 4, 7, 0, 4)).to eq("0 4 4 7 30\n") }

  program("log_collector", "marks each line with who said it") do
    lines = run_program("log_collector", "echo one; exit 2", "echo two >&2", "true").lines(chomp: true)
    expect(lines.sort).to eq(["0> ended with 2", "0| one", "1> ended with 0", "1| two", "2> ended with 0"])
    expect(lines.grep(/\A0/)).to eq(["0| one", "0> ended with 2"])
  end

  program("word_count", "counts what it moves") do
    text = "one two\nthree\n" * 20_000
    Tempfile.create do |target|
      expect(run_program("word_count", target.path, input: text)).to eq("40000 lines, 60000 words, 280000 bytes\n280000 bytes moved\n")
      expect(File.read(target.path) == text).to be true
    end
  end

  program("repl", "answers while a fiber goes on behind the prompt") do
    input = <<~RUBY
      before = ticks
      fiber = spin { 6 * 7 }; fiber.await
      1 / 0
      sleep 0.001 until ticks > 3
      exit
    RUBY
    out = run_program("repl", input: input)
    expect(out).to eq("> => #{out[/\d+/]}\n> => 42\n> ZeroDivisionError: divided by 0\n> => nil\n> bye\n")
  end

  program("echo_server", "gives every line back") do
    rest = serving("echo_server") { |server| expect(exchange(server.port, "one\ntwo")).to eq("one\ntwo") }
    expect(rest).to eq("stopped\n")
  end

  program("udp_echo_server", "gives every datagram back") do
    rest = serving("udp_echo_server", signal: nil) do |server|
      socket = closing(UDPSocket.new)
      socket.connect("127.0.0.1", server.port)
      %w[one two].each do |text|
        socket.send(text, 0)
        expect(socket.recvfrom(100).first).to eq(text)
      end
      socket.send("quit", 0)
    end
    expect(rest).to eq("2 datagrams\n")
  end

  program("unix_echo_server", "gives everything back, and removes its path") do
    Dir.mktmpdir do |directory|
      path = "#{directory}/echo"
      rest = serving("unix_echo_server", path, signal: "TERM") do |server|
        expect(server.line).to eq("listening on #{path}")
        socket = closing(UNIXSocket.new(path))
        socket.write("hello")
        socket.close_write
        expect(socket.read).to eq("hello")
      end
      expect([rest, File.exist?(path)]).to eq(["stopped\n", false])
    end
  end

  program("chat_server", "tells everybody else") do
    rest = serving("chat_server") do |server|
      port = server.port
      connected(port) do |ann|
        ann.puts "ann"
        connected(port) do |bob|
          bob.puts "bob"
          expect(ann.gets).to eq("* bob joined\n")
          bob.puts "hello"
          expect(ann.gets).to eq("bob: hello\n")
          ann.puts "hi"
          expect(bob.gets).to eq("ann: hi\n")
        end
        expect(ann.gets).to eq("* bob left\n")
      end
    end
    expect(rest).to eq("the room is closed\n")
  end

  program("http_server", "is understood by http_client and load_generator") do
    serving("http_server") do |server|
      port = server.port
      urls = %w[/ /bytes/100 /nothing].map { |path| "http://127.0.0.1:#{port}#{path}" }
      expect(run_program("http_client", *urls, "http://127.0.0.1:1/")).to eq(<<~TEXT)
        / -> 200 20 bytes, "Hello from a fiber."
        /bytes/100 -> 200 100 bytes, "#{Array.new(100) { |i| (33 + (i % 89)).chr }.join.inspect[1..-2]}"
        /nothing -> 404 16 bytes, "no GET /nothing"
        / -> Errno::ECONNREFUSED
      TEXT
      expect(run_program("load_generator", "127.0.0.1", port, 5, 20, complaints: /\A\d+ requests a second, half of them within [\d.]+ ms\n\z/))
        .to eq("200: 100\n")
    end
  end
  talked_to["http_client"] = talked_to["load_generator"] = true

  program("https_sni_server", "has a certificate for each name") do
    require "openssl"
    rest = serving("https_sni_server") do |server|
      port = server.port
      found = %w[one.test two.test other.test].map do |name|
        connected(port) do |socket|
          tls = OpenSSL::SSL::SSLSocket.new(socket, OpenSSL::SSL::SSLContext.new)
          tls.hostname = name
          tls.connect
          tls.write("GET /#{name[0]} HTTP/1.1\r\nHost: #{name}\r\n\r\n")
          [tls.peer_cert.subject.to_s, tls.read.lines.last]
        end
      end
      expect(found).to eq([["/CN=one.test", "/CN=one.test got /o\n"], ["/CN=two.test", "/CN=two.test got /t\n"],
                           ["/CN=localhost", "/CN=localhost got /o\n"]])
    end
    expect(rest).to eq("stopped\n")
  end

  program("tcp_proxy", "passes on both directions") do
    text = "0123456789" * 50_000
    with_server(->(socket) { socket.write(socket.read.reverse) }) do |port|
      rest = serving("tcp_proxy", "127.0.0.1", port) do |proxy|
        expect(exchange(proxy.port, text) == text.reverse).to be true
      end
      expect(rest).to eq("stopped\n")
    end
  end

  program("tunnel", "connects to where it is asked to") do
    with_server(->(socket) { socket.puts socket.gets.upcase }) do |port|
      rest = serving("tunnel") do |tunnel|
        own = tunnel.port
        connected(own) do |socket|
          socket.write("CONNECT 127.0.0.1:#{port} HTTP/1.1\r\nHost: x\r\n\r\n")
          expect([socket.gets, socket.gets]).to eq(["HTTP/1.1 200 Connection established\r\n", "\r\n"])
          socket.puts "hello"
          expect(socket.read).to eq("HELLO\n")
        end
        expect(exchange(own, "CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n")).to eq("HTTP/1.1 502 Bad Gateway\r\n\r\n")
        expect(exchange(own, "GET / HTTP/1.1\r\n\r\n")).to eq("HTTP/1.1 405 Method Not Allowed\r\n\r\n")
      end
      expect(rest).to eq("stopped\n")
    end
  end

  program("gzip_server", "compresses for those who understand it") do
    text = "some text that repeats itself\n" * 10_000
    Tempfile.create do |file|
      File.write(file.path, text)
      rest = serving("gzip_server", file.path) do |server|
        port = server.port
        packed = exchange(port, "GET / HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n").split("\r\n\r\n", 2).last
        expect([Zlib.gunzip(packed) == text, packed.bytesize < 5000]).to eq([true, true])
        expect(exchange(port, "GET / HTTP/1.1\r\n\r\n").split("\r\n\r\n", 2).last == text).to be true
      end
      expect(rest).to eq("stopped\n")
    end
  end

  program("static_file_server", "serves what is below its directory, and nothing else") do
    Dir.mktmpdir do |directory|
      Dir.mkdir("#{directory}/public")
      File.write("#{directory}/secret.txt", "secret")
      File.write("#{directory}/public/page.html", "<p>hello</p>")
      rest = serving("static_file_server", "#{directory}/public") do |server|
        port = server.port
        two = exchange(port, "GET /page.html HTTP/1.1\r\n\r\nGET /../secret.txt HTTP/1.1\r\n\r\n")
        expect(two).to eq("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<p>hello</p>" \
                          "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
      end
      expect(rest).to eq("stopped\n")
    end
  end

  program("multi_port_server", "serves each port in its way") do
    rest = serving("multi_port_server", signal: "TERM") do |server|
      upcase, reverse, time = Array.new(3) { server.port }
      expect([exchange(upcase, "abc\n"), exchange(reverse, "abc\n")]).to eq(%W[ABC\n cba\n])
      expect(exchange(time, "")).to match(/\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n\z/)
    end
    expect(rest).to eq("stopped\n")
  end

  program("port_scanner", "finds the open ports") do
    with_server(->(_) {}) do |port|
      shut = TCPServer.new("127.0.0.1", 0).then { |server| server.addr[1].tap { server.close } }
      expect(run_program("port_scanner", "127.0.0.1", "1-3", port, shut)).to eq("#{port} is open\n1 of 5\n")
    end
  end

  program("happy_eyeballs", "takes the first that answers") do
    with_server(->(socket) { socket.puts "hello" }) do |port|
      expect(run_program("happy_eyeballs", "127.0.0.2", 1, "127.0.0.1", port))
        .to eq("127.0.0.2: Errno::ECONNREFUSED\nconnected to 127.0.0.1\nhello\n")
    end
  end

  program("crawler", "visits every page once") do
    visits = Hash.new(0)
    site = { "/" => "/a /b", "/a" => "/b /c", "/b" => "/", "/c" => "/gone http://other.test/" }
    page = lambda do |socket|
      path = socket.gets.split[1]
      socket.gets_loop { |header| break if header == "\r\n" }
      visits[path] += 1
      body = site.fetch(path, "").split.map { |link| %(<a href="#{link}">) }.join
      status = site.key?(path) ? "200 OK" : "404 Not Found"
      socket.write("HTTP/1.1 #{status}\r\nConnection: close\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}")
    end
    with_server(page) do |port|
      expect(run_program("crawler", "http://127.0.0.1:#{port}/", 100)).to eq("200 /\n200 /a\n200 /b\n200 /c\n404 /gone\n")
      expect(visits).to eq({ "/" => 1, "/a" => 1, "/b" => 1, "/c" => 1, "/gone" => 1 })
    end
  end

  program("tail_f", "prints what is appended") do
    Tempfile.create do |file|
      File.write(file.path, "old\n")
      rest = serving("tail_f", file.path, 0.01) do |tail|
        expect(tail.line).to eq("old")
        File.write(file.path, "new\n", mode: "a")
        expect(tail.line).to eq("new")
        File.write(file.path, "x\n")
        expect(tail.line).to eq("x")
      end
      expect(rest).to eq("stopped\n")
    end
  end

  program("process_supervisor", "starts again what ends, and ends everything with itself") do
    rest = serving("process_supervisor", "echo pid $$", "exec sleep 1000", signal: "TERM") do |supervisor|
      expect(supervisor.line).to eq("watching 2 commands")
      pids = Array.new(3) { supervisor.line[/\Apid (\d+)\z/, 1] }
      expect(pids.compact.uniq.size).to eq(3)
      supervisor.signal("USR1")
      line = supervisor.line
      line = supervisor.line while line.start_with?("pid")
      expect(line).to match(/\Aecho pid \$\$: ([3-9]|\d{2,})\z/)
      expect(supervisor.line).to eq("exec sleep 1000: 1")
    end
    expect(rest.lines.grep_v(/\Apid \d+$/)).to eq(["stopped\n"])
  end

  program("graceful_shutdown", "finishes what it has begun") do
    rest = serving("graceful_shutdown", signal: nil) do |server|
      connected(server.port) do |socket|
        socket.puts 0.2
        expect(server.line).to eq("working")
        server.signal("TERM")
        expect(server.line).to eq("finishing 1")
        expect(socket.read).to eq("done\n")
      end
    end
    expect(rest).to eq("all done\n")
  end

  program("forking_server", "replaces a worker that dies") do
    rest = serving("forking_server", 1, signal: "TERM") do |server|
      port = server.port
      pids = %w[die live].map do |wish|
        connected(port) do |socket|
          pid = Integer(socket.gets)
          socket.puts wish
          socket.read
          pid
        end
      end
      expect([*pids, server.pid].uniq.size).to eq(3)
    end
    expect(rest).to eq("stopped\n")
  end

  program("kv_store", "keeps values, and lets clients wait for them") do
    rest = serving("kv_store") do |server|
      port = server.port
      connected(port) do |waiting|
        waiting.puts "WAIT a"
        waiting.puts "GET a"
        commands = ["SET b two words", "GET b", "INCR n", "INCR n", "INCR b", "DEL b", "DEL b", "GET b", "WHAT", "SET a 1", "KEYS", "QUIT"]
        expect(exchange(port, commands.join("\n") << "\n").lines(chomp: true))
          .to eq(["OK", "two words", "1", "2", "ERROR not a number", "1", "0", "(nil)", "ERROR what is \"WHAT\"?", "OK", "a n"])
        expect([waiting.gets, waiting.gets]).to eq(%W[1\n 1\n])
      end
    end
    expect(rest).to eq("stopped\n")
  end

  program("websocket_echo_server", "shakes hands and gives texts back") do
    frame = lambda do |kind, payload|
      mask = [1, 2, 3, 4]
      length = payload.bytesize < 126 ? [128 | payload.bytesize].pack("C") : [254, payload.bytesize].pack("Cn")
      [128 | kind].pack("C") + length + mask.pack("C4") + payload.bytes.each_with_index.map { |byte, i| byte ^ mask[i % 4] }.pack("C*")
    end
    rest = serving("websocket_echo_server") do |server|
      connected(server.port) do |socket|
        socket.write("GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        answer = Array.new(5) { socket.gets("\r\n", chomp: true) }
        expect([answer.first, answer[3]]).to eq(["HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="])
        socket.write(frame.(1, "hello"), frame.(9, "p"), frame.(1, "x" * 300), frame.(8, ""))
        expect(socket.read).to eq("\x81\x05hello\x8A\x01p\x81\x7E\x01\x2C".b + "x" * 300 + "\x88\x00".b)
      end
    end
    expect(rest).to eq("stopped\n")
  end

  program("smtp_server", "leads the dialogue") do
    dialogue = ["DATA", "HELO x", "RCPT TO:<b@x>", "MAIL FROM:<a@x>", "RCPT TO:<b@x>", "DATA", "Subject: hi", "", "text", ".", "NOOP?", "QUIT"]
    rest = serving("smtp_server") do |server|
      codes = exchange(server.port, dialogue.join("\r\n") << "\r\n").lines.map(&:to_i)
      expect(codes).to eq([220, 503, 250, 503, 250, 250, 354, 250, 500, 221])
      expect(server.line).to eq("a@x -> b@x: 3 lines, Subject: hi")
    end
    expect(rest).to eq("stopped\n")
  end

  program("memoizing_server", "computes once what many ask for") do
    rest = serving("memoizing_server") do |server|
      port = server.port
      answers = Fiber.await(*Array.new(3) { spin { exchange(port, "25\n") } })
      expect(answers).to eq(%W[75025\n] * 3)
      expect(exchange(port, "10\n25\n99\n")).to eq("55\n75025\na number from 0 to 29, please\n")
    end
    expect(rest).to eq("computing 25\ncomputing 10\nstopped\n")
  end

  program("timeout_proxy", "says so when the server is slow, or is not there") do
    slow = ->(socket) { socket.gets.include?("/slow") ? sleep : socket.write("HTTP/1.1 200 OK\r\n\r\nfine") }
    with_server(slow) do |port|
      rest = serving("timeout_proxy", "127.0.0.1", port, 60) do |patient|
        expect(exchange(patient.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")).to end_with("fine")
      end
      expect(rest).to eq("stopped\n")
      serving("timeout_proxy", "127.0.0.1", port, 0.01) do |hasty|
        expect(exchange(hasty.port, "GET /slow HTTP/1.1\r\n\r\n").lines.first).to eq("HTTP/1.1 504 Gateway Timeout\r\n")
      end
    end
    serving("timeout_proxy", "127.0.0.1", 1, 60) do |proxy|
      expect(exchange(proxy.port, "GET / HTTP/1.1\r\n\r\n").lines.first).to eq("HTTP/1.1 502 Bad Gateway\r\n")
    end
  end

  it "are all tried here, and told of in the index" do
    index = File.read("#{Programs::DIRECTORY}/README.md").scan(/^\| \[(\w+)\]\((\w+)\.rb\) \|/)
    expect(index.sort).to eq(names.map { |name| [name, name] })
    expect(names.reject { |name| printed.key?(name) || talked_to[name] }).to eq([])
  end

  it "begin by telling how they are run" do
    silent = files.reject { |file| File.read(file).match?(/\A# frozen_string_literal: true\n\n# .*^#     ruby .*#{File.basename(file)}.*^require "polyphony"$/m) }
    expect(silent).to eq([])
  end
end
