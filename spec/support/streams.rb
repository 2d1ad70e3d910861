# frozen_string_literal: true

require "io/console"
require "pty"
require "socket"

# Streams of every kind: the end that is read, and the end that is written to.
module Streams
  # A pipe, and whatever is like one.
  KINDS = {
    "a pipe" => :pipe, "a TCP connection" => :tcp_pair, "a UNIX connection" => :unix_pair, "a socket pair" => :socket_pair,
    "a command's output" => :from_command
  }.freeze

  def socket_pair = closing(*Socket.pair(:UNIX, :STREAM, 0))

  # What is written goes through a command.
  def from_command
    input, writer = IO.pipe
    reader = IO.popen("exec cat", in: input)
    input.close
    closing(writer, reader) # in this order, or closing would wait for the command for ever
    [reader, writer]
  end

  # The other way round: the command is what is written to.
  def to_command
    reader, output = IO.pipe
    writer = IO.popen("exec cat", "w", out: output)
    output.close
    [closing(reader), closing(writer)]
  end

  # A file that is written to and read by two who opened it.
  def file_ends
    path = File.join(@directory ||= Dir.mktmpdir, "file")
    closing(*%w[a r].map { |mode| File.open(path, mode).tap { |file| file.sync = true } }).reverse
  end

  def remove_files = @directory && FileUtils.remove_entry(@directory)

  # A terminal that changes nothing. What is read is the side of who drives it: its end is an error, EIO.
  def terminal
    master, slave = closing(*PTY.open)
    slave.raw!
    slave.sync = true
    [master, slave]
  end

  # Whether what is written can be read at once, and reading never waits.
  def at_hand? = reader.is_a?(File) && reader.stat.file?

  # Writes so many parts, with pauses, and ends the stream; others run meanwhile.
  def feed(*parts)
    feeder = spin do
      parts.each { |part| writer << part; 2.times { snooze } }
      writer.close
    end
    feeder.await if at_hand?
  end

  # Nobody reads any more.
  def hang_up = reader.close
end
