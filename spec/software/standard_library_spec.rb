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

    both_ways "a command that is cancelled leaves the others", [:cancelled, "other"], <<~'RUBY'
      stuck = go { Open3.popen3("cat") { |_, out, _, thread| out.read } }
      other = go { Open3.capture2("printf other").first }
      sleep 0
      [stuck.cancel, other.value]
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
  end

  describe "drb" do
    software "drb", requires: %w[drb]

    both_ways "four calls are in a server's threads at once, and what it raises is raised here", [[0, 1, 2, 3], "KeyError"], <<~'RUBY'
      class Front
        def initialize
          @lock, @all, @count = Mutex.new, ConditionVariable.new, 0
        end

        def meet(number)
          @lock.synchronize do
            @count += 1
            @all.broadcast
            @all.wait(@lock) until @count >= 4
          end
          number
        end

        def fail = raise(KeyError, "meant")
      end
      DRb.start_service("druby://127.0.0.1:0", Front.new)
      answers = together(4) { |number| DRbObject.new_with_uri(DRb.uri).meet(number) }
      failed = error_of { DRbObject.new_with_uri(DRb.uri).fail }
      DRb.stop_service
      [answers, failed.class.name]
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
