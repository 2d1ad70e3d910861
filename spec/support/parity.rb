# frozen_string_literal: true

require "json"

# The same call forms in stock Ruby, with the gem loaded, and where a scheduler runs: one answer.
#
# A row is a piece of Ruby; its answer is what it returned, or the exception.
module Parity
  MODES = ["stock Ruby", "the drop-in, no scheduler", "a main fiber", "a spun fiber"].freeze

  PRELUDE = <<~'RUBY'
    require "socket"
    require "json"
    require "tempfile"
    require "monitor"
    require "timeout"
    MODE = ARGV.shift
    ROWS = JSON.parse($stdin.read)
    FIBERS = ["a main fiber", "a spun fiber"].include?(MODE)

    # Runs beside the caller: a thread in stock Ruby, a fiber here.
    def beside(&block) = FIBERS ? spin(&block) : Thread.new(&block)

    def pause = FIBERS ? snooze : Thread.pass

    # A pipe that gets its bytes in pieces, from somebody else.
    def feed(*parts, mode: nil)
      reader, writer = IO.pipe(*mode)
      feeder = beside do
        parts.each { |part| writer.write(part); pause }; writer.close
      rescue Errno::EPIPE, IOError
        nil # the reader had enough
      end
      yield reader
    ensure
      reader&.close
      feeder&.join
    end

    def file(text, mode = "r")
      Tempfile.create("parity") { |made| made.write(text); made.close; File.open(made.path, mode) { |opened| yield opened } }
    end

    def tcp
      server = TCPServer.new("127.0.0.1", 0)
      client = TCPSocket.new("127.0.0.1", server.addr[1])
      accepted = server.accept
      yield accepted, client, server
    ensure
      [server, client, accepted].each { |io| io&.close }
    end

    def unix
      left, right = UNIXSocket.pair
      yield left, right
    ensure
      left.close
      right.close
    end

    def answer(row)
      value = eval(row, binding, "(row)", 1)
      value = "#{value.inspect} #{value.encoding}" if value.is_a?(String)
      value.inspect
    rescue Exception => e
      "#{e.class}: #{e.message}"
    end

    def clean(text) = text.gsub(/0x\h+|\/tmp\/[\w.-]+|fd \d+|:\d{4,5}\b|port \d+/, "…")

    # Each row in a process of its own: one that hangs says so, and holds nobody up.
    def answered(row)
      reader, writer = IO.pipe
      pid = fork do
        reader.close
        say = ->(text) { writer.syswrite(clean(text)); exit!(0) }
        Thread.new { sleep 4; say.call("HANGS") }
        case MODE
        when "a main fiber" then Polyphony.scheduler! && say.call(answer(row))
        when "a spun fiber" then say.call(spin { answer(row) }.await)
        else say.call(answer(row))
        end
      end
      writer.close
      reader.read.force_encoding("UTF-8")
    ensure
      Process.wait(pid)
      reader.close
    end

    $stdout.write JSON.generate(ROWS.map { |row| answered(row) })
    $stdout.flush
    exit!(0)
  RUBY

  class << self
    # The answers of a table, by mode.
    def answers(rows)
      MODES.to_h do |mode|
        loaded = mode == "stock Ruby" ? [] : ["-I", Child::LIBRARY, "-rpolyphony"]
        command = ["timeout", "-k", "1", Child::LIMIT, RbConfig.ruby, "-W1", *loaded, "-e", PRELUDE, mode]
        out, err, status = Thread.new { Open3.capture3(*command, stdin_data: JSON.generate(rows)) }.value
        raise "#{mode}: #{status}\n#{err}" unless status.success?

        [mode, JSON.parse(out)]
      end
    end
  end
end
