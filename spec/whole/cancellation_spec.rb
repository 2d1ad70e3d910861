# frozen_string_literal: true

require "io/nonblock"

# What was cancelled has lost nothing, and touches nothing any more.
RSpec.describe "Cancellation" do
  ROUNDS = Integer(ENV.fetch("ROUNDS", "20000"))

  # Cancels at a random moment: at once, after some turns, by a timer, as the bytes come.
  def cancel_somehow(fiber, act)
    case random.rand(5)
    when 0 then fiber.stop
    when 1 then snooze && nil || fiber.stop
    when 2 then act.call; fiber.stop
    when 3 then snooze; act.call; fiber.stop
    else snooze; act.call; snooze; fiber.stop
    end
    fiber.await
  end

  { "a pipe" => :pipe, "a TCP connection" => :tcp_pair, "a UNIX connection" => :unix_pair }.each do |name, pair|
    describe "of reads on #{name}" do
      {
        "readpartial" => ->(io) { io.readpartial(7) }, "gets" => ->(io) { io.gets },
        "read" => ->(io) { io.read(5) }, "getc" => ->(io) { io.getc }
      }.each do |method, read|
        it "keeps every byte for the next reader (#{method})", limit: 40 do
          reader, writer = public_send(pair)
          sent = +""
          got = +""
          number = 0
          (ROUNDS / 2).times do
            write = -> { part = "#{number += 1}\n"; sent << part; writer.write(part) }
            fiber = spin { (got << read.call(reader)) && nil }
            cancel_somehow(fiber, write)
            # Nobody takes as much as is written: the kernel's buffer must not fill up.
            got << reader.read_nonblock(1 << 20) if (number % 50).zero? && number.positive? && reader.wait_readable(0)
          end
          writer.close
          got << reader.read
          expect(got == sent).to be(true), "#{sent.bytesize} bytes went in, #{got.bytesize} came out"
        end
      end
    end
  end

  it "of recv keeps every byte", limit: 40 do
    reader, writer = tcp_pair
    sent = +""
    got = +""
    ROUNDS.times do |number|
      write = -> { part = "#{number}\n"; sent << part; writer.write(part) }
      cancel_somehow(spin { (got << reader.recv(5)) && nil }, write)
    end
    writer.close
    got << reader.read
    expect(got == sent).to be true
  end

  it "of recvfrom leaves the datagram to the next", limit: 40 do
    receiver = UDPSocket.new.tap { |socket| socket.bind("127.0.0.1", 0) }
    sender = UDPSocket.new
    (ROUNDS / 10).times do |number|
      send = -> { send = -> {}; sender.send(number.to_s, 0, "127.0.0.1", receiver.addr[1]) }
      got = cancel_somehow(spin { receiver.recvfrom(9) }, -> { send.call })
      send.call
      got ||= receiver.recvfrom(9)
      expect(got[0]).to eq number.to_s
    end
  ensure
    receiver.close
    sender.close
  end

  it "of a read under a timeout that expires as the bytes come keeps them", limit: 40 do
    reader, writer = pipe
    sent = 0
    got = 0
    enough = false
    # It is not stopped: a write that is cancelled may have gone out all the same.
    feeder = spin { until enough do sent += writer.write("xyz"); sleep(random.rand * 0.0002) end }
    (ROUNDS / 10).times do
      data = move_on_after(random.rand * 0.0002) { reader.readpartial(100) }
      got += data.bytesize if data
    end
    enough = true
    feeder.await
    writer.close
    expect(got + reader.read.bytesize).to eq sent
  end

  it "leaves a caller's buffer alone" do
    reader, writer = pipe
    ROUNDS.times do
      buffer = +"untouched"
      fiber = spin { reader.readpartial(100, buffer) && nil }
      snooze
      fiber.stop
      fiber.await
      writer.write("bytes that come late")
      snooze
      expect(buffer).to eq "untouched" if random.rand(100).zero?
      raise "written after return" unless buffer == "untouched"

      reader.readpartial(100)
    end
  end

  # A connection that nobody was given was closed: its peer saw the end of the stream.
  {
    "a TCPServer" => -> { listen }, "a TCPServer whose descriptor blocks" => -> { listen.tap { |server| server.nonblock = false } },
    "a Socket" => -> { closing(Socket.tcp_server_sockets("127.0.0.1", 0).first) },
    "a UNIXServer" => -> { closing(UNIXServer.new(File.join(@place, "socket"))) }
  }.each do |name, make|
    it "of accept leaves the connection to the next, with #{name}", limit: 40 do
      in_directory do |directory|
        @place = directory
        server = instance_exec(&make)
        address = server.local_address
        before = Dir.children("/proc/self/fd").size
        answer = ->(socket) { socket.write_nonblock("!") && socket.close && nil }
        (ROUNDS / 10).times do
          client = nil
          fiber = spin { answer.call(server.accept) }
          # Without a switch, or the connection would always be taken before the fiber is stopped.
          connect = -> { Socket.new(address.pfamily, :STREAM).tap { |socket| socket.connect_nonblock(address, exception: false) } }
          cancel_somehow(fiber, -> { client ||= connect.call })
          next unless client

          until client.wait_readable(0)
            left = server.accept_nonblock(exception: false)
            answer.call(left.is_a?(Array) ? left.first : left) unless left == :wait_readable
          end
          expect(client.read_nonblock(9)).to eq "!"
          client.close
        end
        expect(Dir.children("/proc/self/fd").size).to eq before
      end
    end
  end

  it "of accepts in many fibers and threads gives every connection to somebody", limit: 40 do
    server = listen
    before = Dir.children("/proc/self/fd").size
    over = false
    accept = -> { move_on_after(random.rand * 0.0004) { server.accept }&.then { |socket| socket.write_nonblock("!") && socket.close } until over }
    acceptors = Array.new(4) { spin(&accept) }
    threads = Array.new(2) { Thread.new(&accept) }
    answers = Array.new(10) { spin { Array.new(ROUNDS / 200) { TCPSocket.open("127.0.0.1", server.addr[1], &:read) } } }.flat_map(&:await)
    over = true
    [*acceptors.each(&:await), *threads.each(&:join)]
    expect(answers.tally).to eq("!" => ROUNDS / 200 * 10)
    expect(Dir.children("/proc/self/fd").size).to be <= before
  end

  it "of pop gives the item to the next", limit: 40 do
    queue = Queue.new
    got = []
    ROUNDS.times do |number|
      fiber = spin { (got << queue.pop) && nil }
      other = spin { got << queue.pop } if number.even?
      cancel_somehow(fiber, -> { queue << number })
      queue << -1 if other
      other&.await
    end
    got.concat(queue.shift_all)
    numbers = got.reject(&:negative?)
    expect(numbers).to eq numbers.uniq
    expect(got.count(&:negative?)).to eq ROUNDS / 2
  end

  it "of lock leaves the lock to the next", limit: 40 do
    mutex = Mutex.new
    ROUNDS.times do
      mutex.lock
      fiber = spin { mutex.synchronize { nil } }
      other = spin { mutex.synchronize { :locked } }
      case random.rand(3)
      when 0 then fiber.stop
      when 1 then snooze && nil || fiber.stop
      else snooze
      end
      mutex.unlock
      fiber.stop
      raise "lost" unless other.await == :locked

      fiber.await
    end
    expect(mutex).not_to be_locked
  end

  it "of a sleep leaves no timer" do
    ROUNDS.times do
      fiber = spin { sleep 1000 }
      snooze
      fiber.stop
      fiber.await
    end
    expect(Thread.current.backend.stats[:timers]).to eq 0
  end

  it "is heard although the operation ended in the same turn" do
    reader, writer = pipe
    1000.times do
      fiber = spin { reader.readpartial(1); :read }
      snooze
      writer.write("x")
      fiber.stop(:stopped)
      expect(fiber.await).to eq :stopped
      expect(reader.readpartial(1)).to eq "x"
    end
  end

  it "by two exceptions before it is heard of is by the second" do
    reader, = pipe
    fiber = spin { reader.read }
    2.times { snooze }
    fiber.raise(IOError, "first")
    fiber.raise(KeyError, "second")
    expect { fiber.await }.to raise_error KeyError, "second"
  end

  describe "while a timeout is due" do
    # Computes until the time is up; nobody looks at timers meanwhile.
    def compute(seconds)
      now = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }
      enough = now.call + seconds
      nil while now.call < enough
    end

    everywhere do
      {
        "a sleep" => -> { sleep }, "a read" => -> { @reader.readpartial(1) }, "a queue" => -> { Queue.new.pop },
        "a lock" => -> { @lock.lock }, "a fiber of Fiber.new" => -> { Fiber.new { sleep }.resume }
      }.each do |name, wait|
        # A timeout took the place of what was to end the fiber, which then went on behind the block.
        it "ends the fiber, not just the block, in #{name}" do
          @reader, = pipe
          @lock = Mutex.new.lock
          fiber = spin { [move_on_after(0.001) { instance_exec(&wait) }, :went_on] }
          snooze
          fiber.stop(:stopped)
          compute(0.002)
          expect(fiber.await).to eq :stopped
        end

        it "leaves the timeout in force where it is rescued, in #{name}" do
          @reader, = pipe
          @lock = Mutex.new.lock
          fiber = spin { move_on_after(0.001, with_value: :late) { instance_exec(&wait) rescue suspend } }
          snooze
          fiber.raise(IOError)
          compute(0.002)
          expect(fiber.await).to eq :late
        end
      end
    end

    it "leaves the timeout in force also where that was first" do
      other = spin { sleep 0.001; Fiber.current.parent.children.last.raise(IOError) }
      fiber = spin { move_on_after(0.0015, with_value: :late) { begin sleep; rescue IOError then suspend end } }
      snooze
      compute(0.003)
      expect([other, fiber].map(&:await).last).to eq :late
    end

    it "is a timeout around another: both end" do
      waited = move_on_after(0.001, with_value: :outer) do
        move_on_after(0.0015, with_value: :inner) { compute(0.003); sleep }
        sleep
      end
      expect(waited).to eq :outer
    end

    it "is not undone by one around a shield" do
      fiber = spin { [move_on_after(0.001) { Polyphony.shield { sleep 0.005 } }, :went_on] }
      snooze
      fiber.stop(:stopped)
      expect(fiber.await).to eq :stopped
    end

    it "leaves the timeout in force where a shield stands between" do
      fiber = spin do
        move_on_after(0.001, with_value: :late) do
          sleep
        rescue IOError
          Polyphony.shield { sleep 0.001 }
          suspend
        end
      end
      snooze
      fiber.raise(IOError)
      compute(0.002)
      expect(fiber.await).to eq :late
    end

    it "leaves the timeout in force in an interjection" do
      fiber = spin { move_on_after(0.001, with_value: :late) { suspend } }
      snooze
      fiber.interject { sleep rescue nil }
      snooze
      fiber.raise(IOError)
      compute(0.002)
      expect(fiber.await).to eq :late
    end

    it "keeps the timeout out of a shield in the clean-up" do
      cleaned = nil
      fiber = spin do
        move_on_after(0.001) do
          sleep
        ensure
          cleaned = Polyphony.shield { sleep 0.001; true }
        end
      end
      snooze
      fiber.stop(:stopped)
      compute(0.002)
      expect([fiber.await, cleaned]).to eq [:stopped, true]
    end
  end

  context "when timeouts are over that something else has overtaken" do
    # Computes until that many seconds have gone by.
    def compute(seconds)
      enough = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds
      nil until Process.clock_gettime(Process::CLOCK_MONOTONIC) > enough
    end

    [[0.001, 0.002], [0.002, 0.001], [0.001, 0.001]].each do |outer, inner|
      it "ends the outer block, though the inner one's time is up, too (#{outer} and #{inner})" do
        result = move_on_after(outer, with_value: :outer) do
          move_on_after(inner) { compute 0.005; sleep }
          sleep
        end
        expect(result).to eq :outer
      end
    end

    it "lets no timeout take the place of a stop" do
      fiber = spin { move_on_after(0.001) { sleep }; suspend; :went_on }
      snooze
      100.times { spin { compute 0.0001 } }
      fiber.stop(:stopped)
      expect(fiber.await).to eq :stopped
    end

    it "lets an error from elsewhere take the place of no timeout" do
      fiber = spin do
        move_on_after(0.001, with_value: :late) do
          compute 0.005
          begin
            sleep
          rescue IOError
            sleep
          end
        end
      end
      fiber.schedule
      snoozer = spin { fiber.raise(IOError, "from elsewhere") }
      expect(fiber.await).to eq :late
      snoozer.await
    end

    it "forgets them with their blocks" do
      result = move_on_after(0.001) { move_on_after(0.001) { compute 0.005; sleep } }
      expect([result, snooze, sleep(0)]).to eq [nil, nil, nil]
    end
  end
end
