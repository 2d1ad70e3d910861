# frozen_string_literal: true

require_relative "../support/software"

# What is small: each group is one library of Ruby's own.
RSpec.describe "the standard library:" do
  describe "open-uri" do
    software "open-uri", requires: %w[open-uri], server: :http

    both_ways "four documents are asked for at once, and a redirection is followed", [%w[0 1 2 3], "/echo"], <<~'RUBY'
      root = "http://127.0.0.1:#{ARGV[0]}"
      [together(4) { |number| URI.open("#{root}/together/4/#{$$}/#{number}", &:read) }, URI.open("#{root}/redirect", &:read)]
    RUBY

    both_ways "read_timeout ends one, and the others are answered", ["Net::ReadTimeout", %w[0 1]], <<~'RUBY'
      root = "http://127.0.0.1:#{ARGV[0]}"
      late = go { URI.open("#{root}/never", read_timeout: 0.05, &:read) }
      others = together(2) { |number| URI.open("#{root}/together/2/#{$$}/#{number}", &:read) }
      [late.error.class.name, others]
    RUBY

    both_ways "one that is cancelled in the middle of a document closes its connection, and the others are answered",
              [:cancelled, "0", %w[a b]], <<~'RUBY'
      root = "http://127.0.0.1:#{ARGV[0]}"
      held = -> { URI.open("#{root}/held", &:read) }
      stuck = go { URI.open("#{root}/half", &:read) }
      ask_until { held.call == "1" }
      other = go { URI.open("#{root}/together/2/#{$$}/a", &:read) }
      ended = stuck.cancel
      ask_until { held.call == "0" }
      last = URI.open("#{root}/together/2/#{$$}/b", &:read)
      [ended, held.call, [other.value, last]]
    RUBY
  end

  describe "net/smtp" do
    software "net/smtp", requires: %w[net/smtp socket]

    both_ways "four mails are under way at once, and one that is cancelled closes its connection", [4, :cancelled], <<~'RUBY'
      listener = TCPServer.new("127.0.0.1", 0)
      ready = 0
      mails = []
      answer = lambda do |socket|
        socket.print "220 here\r\n"
        while (line = socket.gets)
          case line
          when /^DATA/
            ready += 1
            socket.print "354 go on\r\n"
            text = +""
            while (line = socket.gets) && line != ".\r\n"; text << line; end
            sleep 0.001 until ready >= 4
            mails << text
            socket.print "250 taken\r\n"
          when /^QUIT/ then socket.print "221 bye\r\n"
          else socket.print "250 ok\r\n"
          end
        end
      end
      serving = go { 4.times.map { listener.accept }.map { |socket| go { answer[socket] } }.each(&:value) }
      send_one = ->(number) { Net::SMTP.start("127.0.0.1", listener.addr[1]) { |smtp| smtp.send_message("mail #{number}", "a@localhost", "b@localhost") } }
      together(4, &send_one)
      serving.value
      waiting = go { send_one[5] }
      silent = listener.accept
      ended = waiting.cancel
      silent.read
      [mails.uniq.size, ended]
    RUBY

    both_ways "of three mails that wait for their receipts one is cancelled, and the others get theirs",
              [:cancelled, [true, true], "mail 0"], <<~'RUBY'
      listener = TCPServer.new("127.0.0.1", 0)
      texts = []
      receipts = Thread::Queue.new
      answer = lambda do |socket|
        socket.print "220 here\r\n"
        while (line = socket.gets)
          case line
          when /^DATA/
            socket.print "354 go on\r\n"
            texts << socket.gets
            nil until socket.gets == ".\r\n"
            receipts.pop
            socket.print "250 taken\r\n"
          when /^QUIT/ then socket.print "221 bye\r\n"
          else socket.print "250 ok\r\n"
          end
        end
      rescue SystemCallError
        nil # who was cancelled is gone
      end
      serving = go { 3.times.map { listener.accept }.map { |socket| go { answer[socket] } }.each(&:value) }
      mails = 3.times.map do |number|
        go { Net::SMTP.start("127.0.0.1", listener.addr[1]) { |smtp| smtp.send_message("mail #{number}\n", "a@localhost", "b@localhost").success? } }
      end
      ask_until { texts.size == 3 }
      ended = mails[0].cancel
      3.times { receipts << nil }
      taken = mails.drop(1).map(&:value)
      serving.value
      [ended, taken, texts.min.chomp]
    RUBY
  end

  describe "resolv" do
    software "resolv", requires: %w[resolv socket timeout]

    both_ways "a name server is asked by two fibers at once, and one that never answers holds up nobody", [["192.0.2.1"] * 2, "Timeout::Error", true], <<~'RUBY'
      server = UDPSocket.new.tap { |it| it.bind("127.0.0.1", 0) }
      # Answers once two have asked; newer versions ask for IPv6 first. The name "other" is never answered.
      answer = lambda do |text, from|
        question = Resolv::DNS::Message.decode(text)
        name, kind = question.question.first
        next if name.to_s.start_with?("other")

        reply = Resolv::DNS::Message.new(question.id).tap { |it| it.qr = 1; it.aa = 1 }
        reply.add_question(name, kind)
        reply.add_answer(name, 60, kind.new("192.0.2.1")) if kind == Resolv::DNS::Resource::IN::A
        server.send(reply.encode, 0, from[3], from[1])
      end
      serving = go do
        2.times.map { server.recvfrom(512) }.each { |text, from| answer.call(text, from) }
        loop { answer.call(*server.recvfrom(512)) }
      end
      resolver = -> { Resolv::DNS.new(nameserver_port: [["127.0.0.1", server.addr[1]]], search: [], ndots: 1) }
      found = together(2) { |number| resolver[].getaddress("name#{number}.example").to_s }
      late = nil
      ran = others_ran { late = go { Timeout.timeout(0.05) { resolver[].getaddress("other.example") } }.error }
      serving.cancel
      [found, late.class.name, ran]
    RUBY

    both_ways "a question that is cancelled closes its socket, and the resolver answers the others",
              [:cancelled, 0, ["192.0.2.1"] * 4], <<~'RUBY'
      server = UDPSocket.new.tap { |it| it.bind("127.0.0.1", 0) }
      asked = []
      serving = go do
        loop do
          text, from = server.recvfrom(512)
          question = Resolv::DNS::Message.decode(text)
          name, kind = question.question.first
          asked << name.to_s
          next if name.to_s == "never.example"

          reply = Resolv::DNS::Message.new(question.id).tap { |it| it.qr = 1; it.aa = 1 }
          reply.add_question(name, kind)
          reply.add_answer(name, 60, kind.new("192.0.2.1")) if kind == Resolv::DNS::Resource::IN::A
          server.send(reply.encode, 0, from[3], from[1])
        end
      end
      open = -> { ObjectSpace.each_object(UDPSocket).count { |it| !it.closed? } }
      before = open.call
      resolver = Resolv::DNS.new(nameserver_port: [["127.0.0.1", server.addr[1]]], search: [], ndots: 1)
      stuck = go { resolver.getaddress("never.example") }
      ask_until { asked.include?("never.example") }
      ended = stuck.cancel
      left = open.call - before
      found = together(4) { |number| resolver.getaddress("name#{number}.example").to_s }
      serving.cancel
      [ended, left, found]
    RUBY
  end

  describe "open3" do
    software "open3", requires: %w[open3]

    both_ways "four commands run at once, and large output of both kinds comes back", [%w[0 1 2 3], 200_000, 200_000, 3], <<~'RUBY'
      readers, writers = 4.times.map { IO.pipe }.transpose
      commands = 4.times.map do |number|
        go { Open3.capture2("echo here >&3; cat", stdin_data: number.to_s, 3 => writers[number]).first }
      end
      # Each says that it runs, and none has been waited for.
      readers.each(&:gets)
      out, err, status = Open3.capture3("head -c 200000 /dev/zero; head -c 200000 /dev/zero >&2; exit 3")
      [commands.map(&:value), out.size, err.size, status.exitstatus]
    RUBY

    both_ways "a command that is cancelled is waited for, and leaves the others", [:cancelled, "other", "Errno::ESRCH"], <<~'RUBY'
      pid = nil
      stuck = go { Open3.popen3("cat") { |_, out, _, thread| pid = thread.pid; out.read } }
      other = go { Open3.capture2("cat", stdin_data: "other").first }
      ask_until { pid }
      ended = stuck.cancel
      [ended, other.value, (Process.kill(0, pid) rescue $!.class.name)]
    RUBY
  end

  describe "tempfile and logger" do
    software "tempfile, logger", requires: %w[tempfile logger]

    both_ways "lines of twenty fibers and a thread are whole, and the file goes when it should", [2100, true, false], <<~'RUBY'
      file = Tempfile.new
      logger = Logger.new(file)
      thread = Thread.new { 100.times { |number| logger.info("thread line #{number}") } }
      together(20) { |owner| 100.times { |number| logger.info("owner #{owner} line #{number}"); sleep 0 if (number % 10).zero? } }
      thread.join
      file.flush
      lines = File.readlines(file.path)
      path = file.path
      whole = lines.all? { |line| line.match?(/line \d+$/) || line.start_with?("#") }
      file.close!
      [lines.count { |line| !line.start_with?("#") }, whole, File.exist?(path)]
    RUBY

    rescued = { only: "drop-in", because: "before 1.6.2 Logger rescues whatever is raised while it writes, and no class is touched" }

    both_ways "a fiber that is cancelled while its line waits for room leaves the logger to the others", [:cancelled, false, :logged, true], <<~'RUBY', **(RUBY_VERSION < "3.4" ? rescued : {})
      reader, writer = IO.pipe
      nil while writer.write_nonblock("x" * 4096, exception: false) != :wait_writable
      logger = Logger.new(writer)
      went_on = false
      stuck = go { logger.info("stuck"); went_on = true }
      other = go { logger.info("other"); :logged }
      20.times { sleep 0 }
      ended = stuck.cancel
      drained = Thread.new { text = +""; text << reader.readpartial(65_536) until text.end_with?("other\n"); true }
      [ended, went_on, other.value, drained.value]
    RUBY

    both_ways "a fiber that is cancelled within a temporary file takes the file with it, and no other one", [:cancelled, [true, false], "whole"], <<~'RUBY'
      reader, = IO.pipe
      path = nil
      stuck = go { Tempfile.create("stuck") { |file| path = file.path; reader.read } }
      other = Tempfile.new("other")
      ask_until { path }
      there = File.exist?(path)
      ended = stuck.cancel
      other << "whole"
      other.flush
      [ended, [there, File.exist?(path)], File.read(other.path)]
    RUBY
  end

  describe "drb" do
    software "drb", requires: %w[drb]

    # A server that is not this process's first one is spoken to through its socket, as another process's would be.
    drb = <<~'RUBY'
      class Front
        def initialize
          @lock, @all, @count = Mutex.new, ConditionVariable.new, 0
        end

        def count = @lock.synchronize { @count }

        # Answers when so many have come.
        def meet(number, value)
          @lock.synchronize do
            @count += 1
            @all.broadcast
            @all.wait(@lock) until @count >= number
          end
          value
        end

        def fail = raise(KeyError, "meant")
      end
      DRb.start_service
      SERVER = DRb::DRbServer.new("druby://127.0.0.1:0", Front.new)
      FRONT = DRbObject.new_with_uri(SERVER.uri)
      raise "not through a socket" if DRb.here?(SERVER.uri)
    RUBY

    both_ways "four calls are in a server's threads at once, and what it raises is raised here", [[0, 1, 2, 3], "KeyError"], drb + <<~'RUBY'
      answers = together(4) { |number| FRONT.meet(4, number) }
      failed = error_of { FRONT.fail }
      SERVER.stop_service
      [answers, failed.class.name]
    RUBY

    both_ways "a call that is cancelled gives no other one its answer", [:cancelled, [1, 2], [3, 4, 5]], drb + <<~'RUBY'
      stuck, *others = 3.times.map { |number| go { FRONT.meet(4, number) } }
      ask_until { FRONT.count == 3 }
      ended = stuck.cancel
      FRONT.meet(4, nil)
      answers = others.map(&:value)
      later = together(3) { |number| FRONT.meet(4, number + 3) }
      SERVER.stop_service
      [ended, answers, later]
    RUBY
  end

  describe "webrick" do
    software "webrick", requires: %w[webrick net/http]

    both_ways "serves our fibers, four requests in its threads at once, and shuts down", [%w[0 1 2 3], true], <<~'RUBY'
      lock, all, count = Mutex.new, ConditionVariable.new, 0
      server = WEBrick::HTTPServer.new(Port: 0, BindAddress: "127.0.0.1", Logger: WEBrick::Log.new(File::NULL), AccessLog: [])
      server.mount_proc("/") do |request, response|
        lock.synchronize do
          count += 1
          all.broadcast
          all.wait(lock) until count >= 4
        end
        response.body = request.path[1..]
      end
      port = server.listeners.first.addr[1]
      running = Thread.new { server.start }
      answers = together(4) { |number| Net::HTTP.get(URI("http://127.0.0.1:#{port}/#{number}")) }
      server.shutdown
      running.join
      [answers, error_of { Net::HTTP.get(URI("http://127.0.0.1:#{port}/")) }.is_a?(SystemCallError)]
    RUBY

    both_ways "a client that is cancelled in the middle of its request leaves the server to the others", [:cancelled, %w[a waited]], <<~'RUBY'
      reached, go_on = Thread::Queue.new, Thread::Queue.new
      server = WEBrick::HTTPServer.new(Port: 0, BindAddress: "127.0.0.1", Logger: WEBrick::Log.new(File::NULL), AccessLog: [])
      server.mount_proc("/wait") { |_, response| reached << 1; go_on.pop; response.body = "waited" }
      server.mount_proc("/") { |request, response| response.body = request.path[1..] }
      running = Thread.new { server.start }
      port = server.listeners.first.addr[1]
      ask = ->(path) { Net::HTTP.get(URI("http://127.0.0.1:#{port}/#{path}")) }
      stuck, other = 2.times.map { go { ask["wait"] } }
      2.times { reached.pop }
      ended = stuck.cancel
      answer = ask["a"]
      2.times { go_on << 1 }
      answers = [answer, other.value]
      server.shutdown
      running.join
      [ended, answers]
    RUBY

    both_ways "serves from a fiber, which is cancelled: it listens no longer", [%w[0 1 2], :cancelled, "Errno::ECONNREFUSED"], <<~'RUBY', **(RUBY_VERSION < "3.2" ? { only: "drop-in", because: "before 3.2 IO.select asks no scheduler" } : {})
      server = WEBrick::HTTPServer.new(Port: 0, BindAddress: "127.0.0.1", Logger: WEBrick::Log.new(File::NULL), AccessLog: [])
      server.mount_proc("/") { |request, response| response.body = request.path[1..] }
      port = server.listeners.first.addr[1]
      running = go { server.start }
      answers = together(3) { |number| Net::HTTP.get(URI("http://127.0.0.1:#{port}/#{number}")) }
      ended = running.cancel
      [answers, ended, error_of { Net::HTTP.get(URI("http://127.0.0.1:#{port}/")) }.class.name]
    RUBY
  end

  describe "Enumerator" do
    software "Enumerator (external), ObjectSpace, at_exit, trap", requires: []

    blocking = { only: "drop-in", because: "Ruby makes the fibers of external enumerators blocking ones: the scheduler is not asked" }

    both_ways "an external one waits in its own fiber while others run", [[1, 2, 3], true], <<~'RUBY', **blocking
      each = Enumerator.new { |to| 3.times { |number| sleep 0.005; to << number + 1 } }
      taken = nil
      ran = others_ran { taken = go { 3.times.map { each.next } }.value }
      [taken, ran]
    RUBY

    both_ways "two that read pipes are advanced by turns, in two fibers", [%w[a0 a1 a2], %w[b0 b1 b2]], <<~'RUBY', **blocking
      pipes = 2.times.map { IO.pipe }
      readers = pipes.map { |reader, _| reader.each_line(chomp: true) }
      reading = readers.map { |lines| go { 3.times.map { lines.next } } }
      3.times { |number| %w[a b].zip(pipes) { |name, (_, writer)| writer.puts "#{name}#{number}" }; sleep 0 }
      reading.map(&:value)
    RUBY

    both_ways "one that is cancelled while its source waits runs its ensure, begins anew, and leaves the others",
              [:cancelled, [1], %w[a b]], <<~'RUBY', **blocking
      reader, writer = IO.pipe
      ensured = []
      each = Enumerator.new do |to|
        to << 1
        reader.gets
        to << 2
      ensure
        ensured << 1
      end
      taken = []
      stuck = go { 2.times { taken << each.next } }
      other = go { Enumerator.new { |to| to << "a"; sleep 0.001; to << "b" }.then { |it| [it.next, it.next] } }
      ask_until { taken == [1] }
      20.times { sleep 0 }
      ended = stuck.cancel
      writer.puts "later"
      raise "not anew" unless go { [each.next, each.next] }.value == [1, 2]
      [ended, ensured, other.value]
    RUBY

    both_ways "ObjectSpace walks and collects beside fibers that wait", [10, true], <<~'RUBY'
      waiting = 10.times.map { |number| go { reader, writer = IO.pipe; go { sleep 0.005; writer << number; writer.close }; reader.read.to_i == number } }
      ObjectSpace.each_object(Fiber) { |fiber| fiber.alive? }
      GC.start
      GC.compact if GC.respond_to?(:compact)
      [waiting.map(&:value).count(true), ObjectSpace.count_objects[:TOTAL].positive?]
    RUBY

    both_ways "a trapped signal finds a loop that waits, and its handler may wake a fiber", [:woken], <<~'RUBY'
      queue = Thread::Queue.new
      old = trap(:USR1) { queue << :woken }
      waiting = go { queue.pop }
      go { Process.kill(:USR1, $$) }
      [waiting.value].tap { trap(:USR1, old) }
    RUBY

    both_ways "at_exit handlers run after the body, and may wait", 1, <<~'RUBY'
      at_exit do
        reader, writer = IO.pipe
        Thread.new { sleep 0.005; writer.close }
        reader.read
        exit!(7) unless reader.eof?
      end
      together(1) { 1 }.first
    RUBY
  end
end
