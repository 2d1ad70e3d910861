# frozen_string_literal: true

require "fileutils"
require "stringio"
require "tempfile"
require "tmpdir"
require "zlib"

# What Ruby's scheduler hooks do not see everywhere, and must not hold the thread all the same: each is counted in
# turns that another fiber got meanwhile.
RSpec.describe "While something takes long, other fibers run:" do
  def turns_during
    turns = 0
    ticker = spin { loop { turns += 1; snooze } }
    snooze
    before = turns
    value = yield
    [value, turns - before]
  ensure
    ticker.stop
    ticker.await
  end

  def at_a_path
    in_directory { |directory| yield File.join(directory, "file") }
  end

  def fifo
    at_a_path { |path| File.mkfifo(path); yield path }
  end

  # Has the other end opened by a process that waits until others had turns here.
  def other_end(path, command)
    reader, writer = IO.pipe
    pid = spawn({ "FIFO" => path }, "read line; #{command}", in: reader)
    teller = spin { 20.times { snooze }; writer << "\n" }
    yield
  ensure
    teller&.await
    Process.wait(pid) if pid
    [reader, writer].each(&:close)
  end

  everywhere "the main fiber", "a spun fiber" do
    before { Polyphony.scheduler! }

    {
      "File.open of a FIFO" => ->(path) { File.open(path, &:read) }, "File.new of a FIFO" => ->(path) { File.new(path).then { |file| [file.read, file.close].first } },
      "open of a FIFO" => ->(path) { open(path, &:read) },
      "IO.sysopen of a FIFO" => ->(path) { IO.for_fd(IO.sysopen(path)).then { |io| [io.read, io.close].first } }
    }.each do |name, opening|
      it name do
        fifo do |path|
          other_end(path, 'printf through > "$FIFO"') do
            value, turns = turns_during { opening.call(path) }
            expect([value, turns > 2]).to eq ["through", true]
          end
        end
      end
    end

    it "a lock that another has" do
      at_a_path do |path|
        holder, other = Array.new(2) { File.open(path, "w") }
        holder.flock(File::LOCK_EX)
        spin { 20.times { snooze }; holder.flock(File::LOCK_UN) }
        value, turns = turns_during { other.flock(File::LOCK_EX) }
        expect([value, turns > 2]).to eq [0, true]
        expect(holder.flock(File::LOCK_EX | File::LOCK_NB)).to be false
      ensure
        [holder, other].each(&:close)
      end
    end

    it "fsync and fdatasync" do
      at_a_path do |path|
        File.open(path, "w") do |file|
          file << "some"
          expect(turns_during { file.fsync }).to match [0, be > 0]
          expect(turns_during { file.fdatasync }).to match [0, be > 0]
        end
      end
    end

    # A machine may be so fast that a thread is done before others had a turn: so each has several tries.
    def expect_turns(value, least = 1)
      told = nil
      met = 5.times.any? { (told = turns_during { yield }).last >= least }
      expect([told.first, met]).to match [value, true]
    end

    # Much for a disk, and for zlib.
    let(:much) { "a line that is one of many\n" * 160_000 }
    let(:directory) { Dir.mktmpdir }
    let(:file) { at_disk("file", much) }

    def at_disk(name, content = nil) = File.join(directory, name).tap { |path| File.binwrite(path, content) if content }

    after { FileUtils.rm_rf(directory) }

    {
      "a large write to a file" => [->(size) { size }, ->(data, path, _) { File.open(path, "w") { |file| file.write(data) } }],
      "many small writes to a file" => [160_000, ->(_, path, _) { File.open(path, "w") { |file| 160_000.times { file << "some more\n" }.tap { file.flush } } }],
      "many small writes to a file that buffers nothing" => [1_000, ->(_, path, _) { File.open(path, "w") { |file| file.sync = true; 1_000.times { file << "a line\n" } } }],
      "a large pread" => [->(size) { size }, ->(_, _, from) { File.open(from) { |file| file.pread(1 << 29, 0).bytesize } }],
      "a large pwrite" => [->(size) { size + 7 }, ->(data, path, _) { File.open(path, "w") { |file| 7 + file.pwrite(data, 7) } }],
      "reading a large file" => [->(size) { size }, ->(_, _, from) { File.open(from) { |file| file.read.bytesize } }],
      "File.read of a large file" => [->(size) { size }, ->(_, _, from) { File.read(from).bytesize }],
      "File.readlines of a large file" => [160_000, ->(_, _, from) { File.readlines(from).size }],
      "File.foreach of a large file" => [160_000, ->(_, _, from) { count = 0; File.foreach(from) { count += 1 }; count }],
      "File.write of much" => [->(size) { size }, ->(data, path, _) { File.write(path, data) }],
      "IO.copy_stream of two paths" => [->(size) { size }, ->(_, path, from) { IO.copy_stream(from, path) }],
      "IO.copy_stream of two files" => [->(size) { size }, ->(_, path, from) { File.open(from) { |one| File.open(path, "w") { |other| IO.copy_stream(one, other) } } }]
    }.each do |name, (value, call)|
      it name do
        path = at_disk("other")
        value = value.call(much.bytesize) if value.respond_to?(:call)
        expect_turns(value) { call.call(much, path, file) }
      end
    end

    it "IO.copy_stream of a large file to a stream" do
      reader, writer = pipe
      taker = spin { reader.read }
      copied, turns = turns_during { File.open(file) { |from| [IO.copy_stream(from, writer), from.eof?, writer.close] } }
      expect([copied, turns > 3, taker.await == much]).to eq [[much.bytesize, true, nil], true, true]
    end

    it "IO.copy_stream of a stream to a file" do
      reader, writer = pipe
      feeder = spin { writer << much; writer.close }
      path = at_disk("other", "old ")
      copied, turns = turns_during { File.open(path, "a") { |into| [IO.copy_stream(reader, into, 3), IO.copy_stream(reader, into), into.pos] } }
      expect([copied, File.binread(path) == "old #{much}", turns > 3]).to eq [[3, much.bytesize - 3, much.bytesize + 4], true, true]
      feeder.await
    end

    it "a FIFO that is full, which Ruby buffers" do
      fifo do |path|
        reader, writer = File.open(path, File::RDWR | File::NONBLOCK), File.open(path, "w")
        taker = spin { 20.times { snooze }; taken = +""; taken << reader.readpartial(10_000) until taken.bytesize == 200_000; taken }
        expect(turns_during { writer << "x" * 199_000 << "y" * 1_000; writer.flush.equal?(writer) }).to match [true, be > 2]
        expect(taker.await == "x" * 199_000 + "y" * 1_000).to be true
      ensure
        [reader, writer].each(&:close)
      end
    end

    # A process that has just begun has a directory that nobody has looked at: the kernel has to make it up, as it
    # would have to read a disk.
    def of_a_new_process
      reader, writer = IO.pipe
      pid = spawn("cat", in: reader)
      yield "/proc/#{pid}"
    ensure
      [reader, writer].each(&:close)
      Process.wait(pid) if pid
    end

    {
      "File.stat" => ->(path) { File.stat("#{path}/cmdline").file? }, "File.lstat" => ->(path) { File.lstat("#{path}/exe").symlink? },
      "File::Stat.new" => ->(path) { File::Stat.new("#{path}/cmdline").file? },
      "File.exist?" => ->(path) { File.exist?("#{path}/cmdline") }, "File.file?" => ->(path) { File.file?("#{path}/cmdline") },
      "File.size" => ->(path) { File.size("#{path}/cmdline").zero? }, "File.mtime" => ->(path) { File.mtime("#{path}/cmdline").is_a?(Time) },
      "File.readlink" => ->(path) { File.readlink("#{path}/cwd") == Dir.pwd }, "FileTest.exist?" => ->(path) { FileTest.exist?("#{path}/cmdline") },
      "File.realpath" => ->(path) { File.realpath("#{path}/cwd") == Dir.pwd },
      "File.open" => ->(path) { File.open("#{path}/cmdline", &:read).include?("cat") },
      "File.read" => ->(path) { File.read("#{path}/cmdline").include?("cat") },
      "IO.sysopen" => ->(path) { IO.for_fd(IO.sysopen("#{path}/cmdline")).close.nil? },
      "Dir.exist?" => ->(path) { Dir.exist?("#{path}/fd") }, "Dir.new" => ->(path) { Dir.new("#{path}/fd").close.nil? },
      "Dir.children" => ->(path) { Dir.children("#{path}/fd").include?("0") },
      "Dir.glob in one directory" => ->(path) { Dir.glob("#{path}/fd/*").include?("#{path}/fd/0") }
    }.each do |name, call|
      it "#{name}, where the kernel has to look" do
        # Who looks at all processes may have been faster with one, but not with five.
        looks = 5.times.lazy.map { of_a_new_process { |path| turns_during { call.call(path) } } }
        expect(looks.find { |_, turns| turns > 0 }).to match [true, be > 0]
      end
    end

    it "File.delete of a large file" do
      expect_turns([1, false]) do
        large = at_disk("large")
        File.open(large, "w") { |opened| opened.truncate(8 * 1024 * 1024) }
        [File.delete(large), File.exist?(large)]
      end
    end

    {
      "Dir.glob of a large directory" => ->(path) { Dir.glob("#{path}/*") }, "Dir.glob of some of a large directory" => ->(path) { Dir.glob("#{path}/f?le*9.*") },
      "Dir.glob from a large base" => ->(path) { Dir.glob("*[12].*", base: path) }, "Dir.[] of a large directory" => ->(path) { Dir["#{path}/*1*"] },
      "Dir.glob of a choice of words" => ->(path) { Dir.glob("#{path}/{file.{1,2*},*.39?.*,*.2*}") }, "Dir.glob with a flag" => ->(path) { Dir.glob("#{path}/*", File::FNM_DOTMATCH) },
      "Dir.glob with an escape" => ->(path) { Dir.glob("#{path}/file\\.*") }, "Dir.glob of hidden names" => ->(path) { Dir.glob("#{path}/.*") }
    }.each do |name, call|
      it name do
        400.times { |number| File.symlink("nowhere", at_disk("file.#{number}.#{"long" * 10}")) }
        FileUtils.touch([at_disk(".hidden"), at_disk("File.1")])
        expect_turns(Thread.new { call.call(directory) }.value, 2) { call.call(directory) }
      end
    end

    {
      "Dir.children" => [600, ->(path) { Dir.children(path).size }], "Dir.entries" => [602, ->(path) { Dir.entries(path).size }],
      "Dir.each_child" => [600, ->(path) { Dir.each_child(path).count }], "Dir.foreach" => [602, ->(path) { Dir.foreach(path).count }],
      "Dir#children" => [600, ->(path) { Dir.open(path, &:children).size }], "Dir#each_child" => [600, ->(path) { Dir.open(path) { |dir| dir.each_child.count } }],
      "Dir#each" => [602, ->(path) { Dir.open(path) { |dir| dir.each.count } }]
    }.each do |name, (count, call)|
      it name do
        600.times { |number| File.write(at_disk("file.#{number}"), "") }
        expect_turns(count) { call.call(directory) }
      end
    end

    {
      "Dir.glob" => [620, ->(path) { Dir.glob("#{path}/**/*").size }], "Dir.[]" => [600, ->(path) { Dir["#{path}/*/*"].size }],
      "Dir.glob with a block" => [620, ->(path) { count = 0; Dir.glob("**/*", base: path) { count += 1 }; count }]
    }.each do |name, (count, call)|
      it name do
        20.times { |part| 30.times { |inner| FileUtils.mkdir_p(at_disk("#{part}/#{inner}")) } }
        expect_turns(count) { call.call(directory) }
      end
    end

    packed = Zlib.gzip(Random.new(1).bytes(200_000))
    bare = Zlib.deflate(Random.new(1).bytes(200_000))
    {
      "Zlib::Deflate#deflate" => ->(data) { Zlib::Inflate.inflate(Zlib::Deflate.new.deflate(data, Zlib::FINISH)) == data },
      "Zlib::Deflate#deflate with a block" => ->(data) { all = +""; stream = Zlib::Deflate.new; stream.deflate(data, Zlib::FINISH) { |piece| all << piece }; Zlib::Inflate.inflate(all) == data },
      "Zlib::Deflate#<<" => ->(data) { Zlib::Inflate.inflate((Zlib::Deflate.new << data).finish) == data },
      "Zlib::Deflate.deflate" => ->(data) { Zlib::Inflate.inflate(Zlib::Deflate.deflate(data)) == data },
      "Zlib::Inflate#inflate" => ->(_) { Zlib::Inflate.new.inflate(bare).bytesize == 200_000 },
      "Zlib::Inflate#<<" => ->(_) { (Zlib::Inflate.new << bare).finish.bytesize == 200_000 },
      "Zlib::Inflate#inflate with a block" => ->(_) { size = 0; Zlib::Inflate.new.inflate(bare) { |piece| size += piece.bytesize }; size == 200_000 },
      "Zlib::Inflate.inflate" => ->(_) { Zlib::Inflate.inflate(bare).bytesize == 200_000 },
      "Zlib::GzipWriter#write" => ->(data) { out = StringIO.new; Zlib::GzipWriter.wrap(out) { |file| [file.write(data), file.finish].first == data.bytesize } && Zlib.gunzip(out.string.b) == data },
      "Zlib::GzipReader#read" => ->(_) { Zlib::GzipReader.new(StringIO.new(packed)).read.bytesize == 200_000 },
      "Zlib::GzipReader#read of so many bytes" => ->(_) { Zlib::GzipReader.new(StringIO.new(packed)).read(150_000).bytesize == 150_000 },
      "Zlib::GzipReader#readlines" => ->(_) { Zlib::GzipReader.new(StringIO.new(packed)).readlines.sum(&:bytesize) == 200_000 },
      "Zlib.crc32" => ->(data) { Zlib.crc32(data * 10, 5) == Zlib.crc32_combine(Zlib.crc32(data * 4, 5), Zlib.crc32(data * 6), data.bytesize * 6) }
    }.each { |name, call| it(name) { data = random.bytes(200_000); expect_turns(true) { call.call(data) } } }

    # It is deprecated.
    quietly = lambda do |&call|
      loud, $VERBOSE = $VERBOSE, nil
      call.call.tap { $VERBOSE = loud }
    end
    {
      "Addrinfo.getaddrinfo" => ["127.0.0.1", -> { Addrinfo.getaddrinfo("localhost", 1, :INET, :STREAM).first.ip_address }],
      "Socket.getaddrinfo" => ["127.0.0.1", -> { Socket.getaddrinfo("localhost", 1, :INET, :STREAM).first[3] }],
      "IPSocket.getaddress" => ["127.0.0.1", -> { IPSocket.getaddress("localhost").sub("::1", "127.0.0.1") }],
      "TCPSocket.gethostbyname" => [true, -> { quietly.call { TCPSocket.gethostbyname("localhost") }.last.match?(/\A127|::1/) }],
      "Socket.sockaddr_in" => [1, -> { Socket.unpack_sockaddr_in(Socket.sockaddr_in(1, "localhost")).first }],
      "TCPServer.new" => [true, -> { TCPServer.new("localhost", 0).then { |server| [server.addr[1].positive?, server.close].first } }],
      "UDPSocket#bind" => [0, -> { UDPSocket.new.then { |socket| [socket.bind("localhost", 0), socket.close].first } }],
      "UDPSocket#connect" => ["127.0.0.1", -> { UDPSocket.new.then { |socket| socket.connect("localhost", 9); [socket.peeraddr(false)[3], socket.close].first } }],
      "UDPSocket#send" => [1, -> { UDPSocket.new.then { |socket| [socket.send("x", 0, "localhost", 9), socket.close].first } }]
    }.each { |name, (value, call)| it("names: #{name}") { expect_turns(value, &call) } }

    it "a Ractor's value" do
      Warning[:experimental] = false
      ractor = Ractor.new { Ractor.receive + 1 }
      spin { 20.times { snooze }; ractor.send(6) }
      expect(turns_during { ractor.respond_to?(:take) ? ractor.take : ractor.value }).to match [7, be > 2]
    ensure
      Warning[:experimental] = true
    end

    it "Ractor.receive_if" do
      Warning[:experimental] = false
      me = Ractor.current
      spin { 20.times { snooze }; me.send(6); me.send(7) }
      expect(turns_during { Ractor.receive_if { |message| message == 7 } }).to match [7, be > 2]
      expect([Ractor.receive_if { |message| break [:broken, message] }, me.send(8) && Ractor.receive]).to eq [[:broken, 6], 8]
    ensure
      Warning[:experimental] = true
    end

    # The thread that waited was still there, and Ruby hangs where two wait.
    it "a Ractor's message, once more where a fiber that waited was cancelled" do
      Warning[:experimental] = false
      ticker = spin { loop { snooze } }
      expect(move_on_after(0.01, with_value: :over) { Ractor.receive }).to be :over
      spin { 20.times { snooze }; Ractor.current.send(8) }
      expect(turns_during { Ractor.receive }).to match [8, be > 2]
    ensure
      ticker&.stop
      Warning[:experimental] = true
    end

    it "large calls of Zlib" do
      data = Random.bytes(1024 * 1024)
      deflated, turns = turns_during { Zlib.deflate(data) }
      expect(turns).to be > 0
      expect(turns_during { Zlib.inflate(deflated) == data }).to match [true, be > 0]
      zipped, turns = turns_during { Zlib.gzip(data, level: 1) }
      expect(turns).to be > 0
      expect(turns_during { Zlib.gunzip(zipped) == data }).to match [true, be > 0]
    end

    it "IO.select" do
      reader, writer = pipe
      spin { 20.times { snooze }; writer << "x" }
      expect(turns_during { IO.select([reader]).first == [reader] }).to match [true, be > 2]
    end

    it "send" do
      left, right = UNIXSocket.pair
      filled = left.write_nonblock("x" * 1_000_000)
      taker = spin { 20.times { snooze }; right.read(filled) }
      expect(turns_during { left.send("y", 0) }).to match [1, be > 2]
      taker.await
    ensure
      [left, right].each(&:close)
    end
  end

  # What Ruby tells its scheduler of, by version: `nil` is never. What it does not tell of holds the thread there.
  describe "with the scheduler alone," do
    always = "3.1"
    {
      "a large write to a file" => ["3.4", 'File.open(at + "/one", "w") { |file| file.write("x" * 4_000_000) }'],
      "fsync" => ["3.4", 'File.open(at + "/one", "w") { |file| file.write("x" * 4_000_000); file.fsync; 4_000_000 }'],
      "reading a large file" => [always, 'File.write(at + "/two", "x" * 4_000_000); File.open(at + "/two") { |file| file.read.size }'],
      "a large pread" => ["3.3", 'File.write(at + "/two", "x" * 4_000_000); File.open(at + "/two") { |file| file.pread(4_000_000, 0).size }'],
      "a large pwrite" => ["4.0", 'File.open(at + "/one", "w") { |file| file.pwrite("x" * 4_000_000, 0) }'],
      "IO.copy_stream of two files" => ["3.4", 'File.write(at + "/two", "x" * 4_000_000); IO.copy_stream(at + "/two", at + "/one")'],
      "Dir.children" => ["3.4", '4_000_000 if Dir.children(at)'],
      "Zlib::Deflate#deflate" => ["3.4", 'require "zlib"; Zlib::Deflate.new.deflate(Random.bytes(4_000_000)); 4_000_000'],
      "Addrinfo.getaddrinfo" => [always, 'Addrinfo.getaddrinfo("localhost", 1); 4_000_000'],
      "UDPSocket#bind" => [always, 'UDPSocket.new.bind("localhost", 0); 4_000_000'],
      "TCPServer.new" => [always, 'TCPServer.new("localhost", 0); 4_000_000'],
      "a Ractor that ends" => [nil, 'ractor = Ractor.new { sleep 0.05; 4_000_000 }; ractor.respond_to?(:take) ? ractor.take : ractor.value']
    }.each do |name, (since, call)|
      it name do
        if since.nil? || Gem::Version.new(RUBY_VERSION) < Gem::Version.new(since)
          skip "no Ruby#{" before #{since}" if since} tells its scheduler of it"
        end
        said = in_directory { |directory| Child.ruby!(<<~RUBY, loaded: "polyphony/bare") }
          require "socket"
          Warning[:experimental] = false
          at = #{directory.inspect}
          result = turns = nil
          Fiber.set_scheduler(Polyphony::FiberScheduler.new)
          Fiber.schedule do
            over = false
            count = 0
            Fiber.schedule { until over; count += 1; sleep 0; end }
            before = count
            result = (#{call})
            turns = count - before
          ensure
            over = true
          end
          Fiber.set_scheduler(nil)
          p [result, turns.positive?]
        RUBY
        expect(said).to eq "[4000000, true]\n"
      end
    end
  end
end
