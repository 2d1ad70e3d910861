# frozen_string_literal: true

require "openssl"

# Every operation of the API that suspends, cancelled whenever that can be. spec/whole/grid_spec.rb asks the
# ring the same of input and output; here it is asked of all, wherever code can run.
RSpec.describe "Operations" do
  # What is called, what it gives, and how another completes it; `over` ends what a cancelled one has left.
  Operation = Struct.new(:result, :completion, :left, :body) do
    def call = body.call

    def complete(fiber) = completion.call(*[fiber].first(completion.arity))

    def over = left&.call
  end

  def operation(result, completion, left = nil, &body) = Operation.new(result, completion, left, body)

  # From one end of a stream to the other.
  def reading((reader, writer), text = "x", result = text, &body)
    operation(result, -> { writer << text }) { body.call(reader) }
  end

  # Both ends in one.
  def own_pipe = Polyphony.pipe.then { |io| closing(io.__reader__, io.__writer__) && [io, io] }

  # What accepts, until somebody comes.
  def accepting(server, &accept)
    operation(true, -> { visit(server) }) { !closing(accept ? accept.call : server.accept).nil? }
  end

  # Without waiting.
  def visit(server)
    address = server.local_address
    closing(Socket.new(address.afamily, :STREAM)).connect_nonblock(address, exception: false)
  end

  def socket = closing(Socket.new(:INET, :STREAM)).tap { |made| made.bind(Addrinfo.tcp("127.0.0.1", 0)); made.listen(64) }

  # Without letting other fibers run.
  def until_so = (Thread.pass until yield)

  # Read in a thread, for the calling fiber would let others run. One that was waited for already is there no more.
  def ended?(pid)
    state = nil
    Thread.new do
      state = File.read("/proc/#{pid}/stat")[/\) (\w)/, 1]
    rescue Errno::ENOENT, Errno::ESRCH
      state = "Z"
    end
    until_so { state }
    state == "Z"
  end

  # A command that ends with 7 when it is told to.
  def command
    reader, writer = pipe
    pid = spawn("read line; exit 7", in: reader)
    reader.close
    operation(7, -> { shut(writer); until_so { ended?(pid) } }, -> { writer.close; taken(pid) }) { yield pid }
  end

  # In a thread, for since Ruby 3.4 other fibers run while one closes.
  def shut(io)
    Thread.new { io.close }
    until_so { io.closed? }
  end

  # Whoever has waited for it before.
  def taken(pid)
    Process.wait(pid)
  rescue Errno::ECHILD
    nil
  end

  # A command that the operation itself starts; a cancelled one leaves it to whoever waits for it, as in stock Ruby.
  def started(result)
    reader, writer = pipe
    operation(result, -> { shut(writer) }, -> { writer.close; taken(-1) }) { yield reader }
  end

  # What writes to where no room is, until somebody reads.
  def full((reader, writer), result = 4, &body)
    nil until writer.write_nonblock("." * 65_536, exception: false) == :wait_writable
    operation(result, -> { nil until reader.read_nonblock(65_536, exception: false) == :wait_readable }) { body.call(writer) }
  end

  # A fiber that ends when it is told to.
  def other
    waiting = spin { suspend }.tap { snooze }
    yield waiting, -> { waiting.schedule(:value) && snooze unless waiting.dead? }
  end

  # A thread that ends when it is told to.
  def running
    go = Queue.new
    thread = Thread.new { go.pop }
    operation(:value, -> { go << :value; until_so { !thread.alive? } }) { yield thread }
  end

  # A lock that somebody has until then.
  def held(lock)
    holder = spin { lock.synchronize { suspend } }.tap { snooze }
    operation(:locked, -> { holder.schedule && snooze }) { yield lock }
  end

  # What completes in the same turn is there for the next.
  KEPT = {
    "IO#readpartial" => -> { reading(pipe) { |io| io.readpartial(9) } },
    "IO#read" => -> { reading(pipe, "four") { |io| io.read(4) } },
    "IO#gets" => -> { reading(pipe, "line\n", &:gets) },
    "IO#readline" => -> { reading(pipe, "line\n", &:readline) },
    "IO#getc" => -> { reading(pipe, &:getc) },
    "IO#readchar" => -> { reading(pipe, &:readchar) },
    "IO#getbyte" => -> { reading(pipe, "x", 120, &:getbyte) },
    "IO#readbyte" => -> { reading(pipe, "x", 120, &:readbyte) },
    "IO#sysread" => -> { reading(pipe) { |io| io.sysread(9) } },
    "IO#eof?" => -> { reading(pipe, "x", false, &:eof?) },
    "IO#each_line" => -> { reading(pipe, "line\n") { |io| io.each_line { |line| break line } } },
    "IO#each_byte" => -> { reading(pipe, "x", 120) { |io| io.each_byte { |byte| break byte } } },
    "IO#each_char" => -> { reading(pipe) { |io| io.each_char { |char| break char } } },
    "IO#gets_loop" => -> { reading(pipe, "line\n") { |io| io.gets_loop { |line| break line } } },
    "IO#read_loop" => -> { reading(pipe) { |io| io.read_loop { |piece| break piece } } },
    "IO#feed_loop" => -> { reading(pipe) { |io| io.feed_loop(->(piece, &block) { block.call(piece) }) { |piece| break piece } } },
    "IO#wait_readable" => -> { pipe.then { |ends| reading(ends, "x", ends[0], &:wait_readable) } },
    "IO#wait" => -> { pipe.then { |ends| reading(ends, "x", ends[0]) { |io| io.wait(60) } } },
    "IO.select" => -> { pipe.then { |ends| reading(ends, "x", [[ends[0]], [], []]) { |io| IO.select([io]) } } },
    "Polyphony::Pipe#gets" => -> { reading(own_pipe, "line\n", &:gets) },
    "Polyphony::Pipe#readpartial" => -> { reading(own_pipe) { |io| io.readpartial(9) } },
    "IO.popen" => -> { IO.popen("cat", "r+").then { |io| closing(io) && reading([io, io], "line\n", &:gets) } },
    "TCPSocket#readpartial" => -> { reading(tcp_pair) { |io| io.readpartial(9) } },
    "TCPSocket#recv" => -> { reading(tcp_pair) { |io| io.recv(9) } },
    "TCPSocket#recv_loop" => -> { reading(tcp_pair) { |io| io.recv_loop { |piece| break piece } } },
    "UNIXSocket#recvfrom" => -> { reading(unix_pair) { |io| io.recvfrom(9).first } },
    "UNIXSocket#recvmsg" => -> { reading(unix_pair) { |io| io.recvmsg(9).first } },
    "UNIXSocket#recv_io" => -> { unix_pair.then { |io, peer| operation(true, -> { peer.send_io($stdout) }) { !closing(io.recv_io).nil? } } },
    "UDPSocket#recvfrom" => -> { udp_pair.then { |io, peer| operation("x", -> { peer.send("x", 0) }) { io.recvfrom(9).first } } },
    "UDPSocket#recvmsg" => -> { udp_pair.then { |io, peer| operation("x", -> { peer.send("x", 0) }) { io.recvmsg(9).first } } },
    "OpenSSL::SSL::SSLSocket#readpartial" => -> { reading(tls_pair) { |io| io.readpartial(9) } },
    "OpenSSL::SSL::SSLSocket#gets" => -> { reading(tls_pair, "line\n", &:gets) },
    "Queue#pop" => -> { Queue.new.then { |queue| operation(:item, -> { queue << :item }) { queue.pop } } },
    "SizedQueue#pop" => -> { SizedQueue.new(1).then { |queue| operation(:item, -> { queue << :item }) { queue.pop } } },
    "SizedQueue#push" => -> { (SizedQueue.new(1) << 1).then { |queue| operation(queue, -> { queue.pop }) { queue.push(2) } } },
    "Polyphony::Channel#receive" => -> { Polyphony::Channel.new.then { |channel| operation(:item, -> { channel << :item }) { channel.receive } } },
    "Polyphony::Event#await" => -> { Polyphony::Event.new.then { |event| operation(:value, -> { event.signal(:value) }) { event.await } } },
    "Mutex#synchronize" => -> { held(Mutex.new) { |lock| lock.synchronize { :locked } } },
    "Mutex#lock" => -> { held(Mutex.new) { |lock| lock.lock.unlock && :locked } },
    "Monitor#synchronize" => -> { held(Monitor.new) { |lock| lock.synchronize { :locked } } },
    "Monitor#enter" => -> { held(Monitor.new) { |lock| lock.enter || lock.exit || :locked } },
    "Fiber#await" => -> { other { |fiber, ending| operation(:value, ending) { fiber.await } } },
    "Fiber.await" => -> { other { |fiber, ending| operation([:value, 1], ending) { Fiber.await(fiber, spin { 1 }) } } },
    "Fiber.select" => -> { other { |fiber, ending| operation([fiber, :value], ending) { Fiber.select(fiber) } } },
    "Thread#value" => -> { running(&:value) },
    "Thread#join" => -> { running(&:join) },
    "Process.wait" => -> { command { |pid| Process.wait(pid) && $?.exitstatus } },
    "Process.wait2" => -> { command { |pid| Process.wait2(pid).last.exitstatus } }
  }.freeze

  # What may have completed all the same; whatever it used is as good as before.
  OTHERS = {
    "sleep" => -> { operation(nil, ->(fiber) { fiber.schedule }) { sleep 1000 } },
    "sleep for ever" => -> { operation(:value, ->(fiber) { fiber.schedule(:value) }) { sleep } },
    "suspend" => -> { operation(:value, ->(fiber) { fiber.schedule(:value) }) { suspend } },
    "receive" => -> { operation(:message, ->(fiber) { fiber << :message }) { receive } },
    "receive_loop" => -> { operation(:message, ->(fiber) { fiber << :message }) { receive_loop { |message| break message } } },
    "spin_scope" => -> { other { |fiber, ending| operation(:value, ending, ending) { spin_scope { spin { fiber.await }.await } } } },
    "every" => -> { operation(:tick, ->(fiber) { fiber.schedule }) { every(1000) { break :tick } } },
    "throttled_loop" => lambda do
      rounds = 0
      operation(:round, ->(fiber) { fiber.schedule }) { throttled_loop(interval: 1000) { (rounds += 1) > 1 and break :round } }
    end,
    "Polyphony::Timer#sleep" => -> { Polyphony::Timer.new.then { |timer| operation(nil, ->(fiber) { fiber.schedule }) { timer.sleep(1000) } } },
    "Polyphony::ResourcePool#acquire" => lambda do
      pool = Polyphony::ResourcePool.new(limit: 1) { :resource }
      holder = spin { pool.acquire { suspend } }.tap { snooze }
      release = -> { holder.schedule && snooze unless holder.dead? }
      operation(:resource, release, release) { pool.acquire { |resource| resource } }
    end,
    "Polyphony::ThreadPool#process" => lambda do
      (@pools ||= []) << pool = Polyphony::ThreadPool.new(1)
      jobs = Queue.new
      operation(:done, -> { jobs << :done }, -> { jobs << :done }) { pool.process { jobs.pop } }
    end,
    "ConditionVariable#wait" => lambda do
      lock, condition = Mutex.new, ConditionVariable.new
      operation(true, -> { condition.signal }) { lock.synchronize { condition.wait(lock) && lock.owned? } }
    end,
    "MonitorMixin::ConditionVariable#wait" => lambda do
      lock = Monitor.new
      condition = lock.new_cond
      signal = -> { lock.synchronize { condition.signal } }
      operation(true, signal) { lock.synchronize { condition.wait; lock.mon_owned? } }
    end,
    "Mutex#sleep" => lambda do
      lock = Mutex.new
      operation(true, ->(fiber) { Fiber.scheduler.unblock(lock, fiber) }) { lock.synchronize { lock.sleep && lock.owned? } }
    end,
    "IO#write" => -> { full(pipe) { |io| io.write("more") } },
    "IO#syswrite" => -> { full(pipe) { |io| io.syswrite("more") } },
    "IO#wait_writable" => -> { pipe.then { |ends| full(ends, ends[1], &:wait_writable) } },
    "BasicSocket#send" => -> { full(unix_pair) { |io| io.send("more", 0) } },
    "BasicSocket#sendmsg" => -> { full(unix_pair) { |io| io.sendmsg("more") } },
    "IO.copy_stream" => -> { reading(pipe, "x", 1) { |io| IO.copy_stream(io, pipe[1], 1) } },
    "IO.splice" => -> { reading(pipe, "x", 1) { |io| IO.splice(io, pipe[1], 9) } },
    "IO.tee" => -> { reading(pipe, "x", 1) { |io| IO.tee(io, pipe[1], 9) } },
    "Process.detach" => -> { command { |pid| Process.detach(pid).value.exitstatus } },
    "Process.waitall" => -> { command { |pid| Process.waitall.assoc(pid).last.exitstatus } },
    "system" => -> { started(false) { |reader| system("read line; exit 7", in: reader) } },
    # A connection that the kernel has accepted for a fiber that wants it no more is closed.
    "TCPServer#accept" => -> { accepting(listen) },
    "TCPServer#accept_loop" => -> { listen.then { |server| accepting(server) { server.accept_loop { |io| break io } } } },
    "UNIXServer#accept" => -> { accepting(closing(UNIXServer.new("\0#{random.rand(1 << 60)}"))) },
    "Socket#accept" => -> { accepting(socket) }
  }.freeze

  after { @pools&.each(&:stop) }

  # Not in a forked child too: for these it is a main fiber like any other, and takes twice the time.
  everywhere("the main fiber", "a spun fiber", "a thread") do
    { true => KEPT, false => OTHERS }.each do |kept, operations|
      operations.each do |name, made|
        describe(name) { it_behaves_like("a cancellable operation", kept: kept) { define_method(:make) { instance_exec(&made) } } }
      end
    end
  end
end
