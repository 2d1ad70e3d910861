# frozen_string_literal: true

require_relative "../support/parity"

# What overrides the functions of IO, and the messages and names of sockets, answers every call form alike.
RSpec.describe "Parity with stock Ruby, of functions" do
  FUNCTIONS_OF_IO = {
    "reading what a path names" => [
      %q(file("é\nb\nc") { |io| [IO.read(io.path), IO.read(io.path, 2), IO.read(io.path, 2, 1), IO.read(io.path, nil, 3), IO.read(io.path, 9, 99)] }),
      %q(file("é\n") { |io| [IO.read(io.path, encoding: "BINARY").encoding, IO.read(io.path, mode: "rb").encoding, IO.binread(io.path).encoding] }),
      %q(file("a") { |io| [IO.read(io.path, -1)] }),
      %q(file("a") { |io| [IO.read(io.path, 1, -1)] }),
      %q(file("a") { |io| [IO.read(io.path, 1, 2, 3)] }),
      %q(file("a") { |io| [IO.read(io.path, bad: 1)] }),
      %q(IO.read("/nowhere/to/be found")),
      %q(IO.read("a\0b")), %q(IO.read(3)), %q(IO.read(nil)), %q(IO.read), %q(IO.readlines(:x)), %q(File.read("/")),
      %q(file("a\r\nb\n") { |io| [IO.readlines(io.path), IO.readlines(io.path, chomp: true), IO.readlines(io.path, 2), IO.readlines(io.path, "b"), IO.readlines(io.path, nil)] }),
      %q(file("a\nb\n") { |io| IO.readlines(io.path, 0) }),
      %q(file("a\nb\n") { |io| [IO.foreach(io.path).to_a, IO.foreach(io.path, 1).to_a, IO.foreach(io.path, chomp: true).to_a, IO.foreach(io.path) { |line| break line }, IO.foreach(io.path) { }] }),
      %q(file("") { |io| [IO.write(io.path, "abc"), IO.write(io.path, "X", 1), IO.read(io.path), IO.write(io.path, "d", mode: "a"), IO.binwrite(io.path, "é"), IO.binread(io.path, 1, 1), File.write(io.path, 42), IO.read(io.path)] }),
      %q(IO.write("/nowhere/at all", "x")), %q(IO.write("/dev/null", "x")), %q(IO.read("/dev/null")), %q(IO.binread("/dev/zero", 3)), %q(IO.readlines("/dev/null")), %q(IO.foreach("/dev/null") { }),
      %q(Tempfile.create("x") { |f| p = f.path + ".fifo"; File.mkfifo(p); begin; t = beside { IO.write(p, "a\nb\n") }; [IO.readlines(p, chomp: true), t.value]; ensure; File.unlink(p); end }),
      %q(Tempfile.create("x") { |f| p = f.path + ".fifo"; File.mkfifo(p); begin; t = beside { IO.write(p, "é\nb\n") }; [IO.foreach(p, mode: "rb", chomp: true).map { |l| [l, l.encoding] }, t.value]; ensure; File.unlink(p); end })
    ],
    "commands" => [
      %q([IO.popen("echo a; exit 3", &:read), $?.exitstatus]),
      %q([IO.popen(["echo", "a b"]) { |io| io.read }, $?.success?]),
      %q(IO.popen({ "A" => "é" }, "echo $A", external_encoding: "BINARY") { |io| io.read.encoding }),
      %q(IO.popen("cat", "r+") { |io| io << "x"; io.close_write; io.read }),
      %q(io = IO.popen("exit 4"); [io.pid.class, io.close, $?.exitstatus, io.closed?, io.close]),
      %q(io = IO.popen("cat", "r+"); io.close_write; [io.read, io.close]),
      %q(IO.popen("cat", "r+") { |io| io.close; 5 }),
      %q(IO.popen("no such command anywhere") { }),
      %q(IO.popen("true", "z") { }), %q(IO.popen { }), %q(IO.popen("true", bad: 1) { }),
      %q(IO.popen("exit 2") { raise "mine" }), %q([IO.popen("true") { break 3 }, $?.class]),
      %q(IO.popen("-") { |io| io ? io.read : print("child") })
    ],
    "messages" => [
      %q(tcp { |a, b| a << "abc"; [b.recvmsg(2).first, b.recvmsg.first, a.sendmsg("x"), b.recvfrom(3)] }),
      %q(tcp { |a, b| a << "abc"; [b.recvmsg(9, Socket::MSG_PEEK).first, b.recv(9)] }),
      %q(tcp { |a, b| b.recvfrom(-1) }), %q(tcp { |a, b| b.recvfrom("x") }), %q(tcp { |a, b| b.recvfrom }), %q(tcp { |a, b| b.recvmsg("x") }),
      %q(tcp { |a, b| a.sendmsg }), %q(tcp { |a, b| a.sendmsg(1) }), %q(tcp { |a, b| a.close; b.recvmsg.first }),
      %q(unix { |a, b| a << "abc"; [b.recvfrom(2), b.recvmsg.first(2).map(&:class)] }),
      %q(unix { |a, b| a.send_io($stderr); got = b.recv_io; [got.class, got.close] }),
      %q(unix { |a, b| a.send_io($stderr); got = b.recv_io(nil); got.class }), %q(unix { |a, b| b.recv_io(1, 2, 3, 4) }),
      %q(u, v = UDPSocket.new, UDPSocket.new; u.bind("127.0.0.1", 0); v.connect("127.0.0.1", u.addr[1]); v.sendmsg("ab"); v.send("", 0); [u.recvmsg.first, u.recvmsg.first]),
      %q(u, v = UDPSocket.new, UDPSocket.new; u.bind("127.0.0.1", 0); v.sendmsg("ab", 0, u.local_address); u.recvmsg(1).values_at(0, 2).first)
    ],
    "what spec/parity found" => [
      %q(r, w = IO.pipe; r.wait_writable(0)), %q(r, w = IO.pipe; w.wait_readable(0)), %q(file("ab", "r") { |io| io.wait_writable }),
      %q(r, w = IO.pipe("utf-8", "utf-16le"); w << "ab\n"; r.getc; r.ungetc("é"); r.wait_readable(0)),
      %q(unix { |a, b| a << "é"; buffer = +"é"; [b.recv(2, 0, buffer), buffer.encoding] }),
      %q(unix { |a, b| a << "x"; [b.recv(0).encoding, b.recv(0, 0, +"kept".b).encoding] }),
      %q(unix { |a, b| a.send(1, 0) }), %q(UDPSocket.new.send(1, 0)), %q(unix { |a, b| a.send(nil, 0) }),
      %q(r, w = IO.pipe; w << "a"; [r.sysread(0, buffer = +"kept"), buffer]),
      %q(system("exit 3"); Process.detach(spawn("exit 4")).join; $?.exitstatus),
      %q(system("exit 3"); [Process.detach(spawn("exit 4")).value.exitstatus, $?.exitstatus]),
      %q(pid = spawn("exit 4"); Process.wait(pid); Process.detach(pid).value),
      %q(system("exit 3"); [Process.waitall, $?]),
      %q(r, w = IO.pipe; w << "a\xFFb"; Timeout.timeout(5) { r.gets(nil, 9) }),
      %q(r, w = IO.pipe("utf-8", "utf-16le"); w << "\n\na\nb\n\nc"; Timeout.timeout(5) { r.gets("") }),
      %q(file("abc\n", "r+") { |io| [io.getc, io.ungetc("x"), io.wait_writable.equal?(io), io.read] }),
      %q(file("a\xFFbc\xE2\x82", "r") { |io| [(io.each_codepoint { } rescue $!.message), io.pos, io.getc, (io.each_codepoint { } rescue $!.message), io.pos] }),
      %q(unix { |a, b| a.close_read; [a.recvfrom(0), a.recvfrom(5)] }), %q(tcp { |a, b| b.close_read; [b.recvfrom(0), b.recvfrom(5)] }),
      %q(u, v = UDPSocket.new, UDPSocket.new; u.bind("127.0.0.1", 0); v.connect("127.0.0.1", u.addr[1]); v.send("ab", 0); [u.recvfrom(9, 0, kept = +"kept").first, kept]),
      %q(UDPSocket.new.recvfrom), %q(UDPSocket.new.recvfrom(1, 2, 3, 4)), %q(UDPSocket.new.send), %q(UDPSocket.new.send("x")), %q(UDPSocket.new.send(1, 2, 3, 4, 5)), %q(open)
    ],
    "names" => [
      %q(Addrinfo.tcp("127.0.0.1", 80)), %q(Addrinfo.tcp("localhost", 80).ip_port), %q(Addrinfo.udp("::1", "53")), %q(Addrinfo.tcp(nil, 80).ip_port),
      %q(Addrinfo.tcp("localhost", "no such service")), %q(Addrinfo.tcp("127.0.0.1", "bad")), %q(Addrinfo.tcp(1, 2)), %q(Addrinfo.tcp("x")),
      %q(Addrinfo.ip("127.0.0.1")), %q(Addrinfo.getaddrinfo("localhost", 80, :INET, :STREAM)), %q(Addrinfo.getaddrinfo("localhost", 80, :INET, :STREAM, timeout: 3)),
      %q(Socket.getaddrinfo("127.0.0.1", 80, nil, :STREAM)), %q(Socket.getaddrinfo("localhost", "http", :INET, :STREAM)), %q(Socket.getaddrinfo(nil, 80, :INET, :STREAM)), %q(Socket.getaddrinfo("x")),
      %q(Socket.getnameinfo(["AF_INET", 80, "127.0.0.1"], Socket::NI_NUMERICHOST)), %q(Socket.getnameinfo), %q(IPSocket.getaddress("127.0.0.1")), %q(IPSocket.getaddress("localhost"))
    ]
  }.freeze

  FUNCTIONS_OF_IO.each do |name, rows|
    describe name, limit: 90 do
      answers = nil
      (Parity::MODES - ["stock Ruby"]).each do |mode|
        it "is what stock Ruby does, in #{mode}" do
          answers ||= Parity.answers(rows)
          stock, ours = answers.values_at("stock Ruby", mode)
          different = rows.zip(stock, ours).reject { |_, before, after| before == after }
          expect(different.map { |row| row.join("\n    ") }.join("\n")).to eq ""
        end
      end
    end
  end
end
