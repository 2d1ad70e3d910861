# frozen_string_literal: true

# Gives a stream its bytes, piece by piece, at moments that are the same in every run: before a call, or when
# the call waits for them, and never in between.
#
# That a call waits is what the kernel says: its thread sleeps in a system call that waits for the stream, and the
# stream is empty. After the last piece comes the end, so nothing waits for ever.
class Feeder
  # Of x86_64 and of aarch64: read, readv, poll, ppoll, select, pselect, recvfrom, recvmsg, epoll and io_uring.
  WAITS = (RbConfig::CONFIG["host_cpu"] == "aarch64" ? %w[63 65 73 72 207 212 22 441 426] : %w[0 19 7 271 23 270 45 47 232 281 441 426]).freeze
  FIONREAD = 0x541B
  # Looks, one after another, that must agree.
  LOOKS = 2

  def initialize(reader, writer, pieces)
    @reader = IO.for_fd(reader.fileno, autoclose: false)
    @writer = writer
    @pieces = pieces.dup
    @work = Thread::Queue.new
    @call = "/proc/self/task/#{Process.pid}/syscall"
    @idle = Thread::Queue.new
    @thread = Thread.new { @idle << watch while @work.pop }
  end

  # Writes the next piece; where nobody wants it any more, it is gone.
  def give
    piece = @pieces.shift
    @writer.syswrite(piece) if piece
  rescue IOError, SystemCallError
    nil
  end

  # Feeds what the block waits for. After it nobody looks at the stream any more: who closes one that another thread
  # uses has to wait for that thread.
  def during
    @running = true
    @work << true
    yield
  ensure
    @running = false
    @idle.pop
  end

  def stop
    @running = false
    @work << nil
    @thread.join
  end

  private

  def watch
    looks = 0
    while @running
      sleep 0.0003
      looks = starved? ? looks + 1 : 0
      next if looks < LOOKS

      looks = 0
      @pieces.empty? ? finish : give
    end
  end

  def finish
    @writer.is_a?(BasicSocket) ? @writer.shutdown(Socket::SHUT_WR) : @writer.close
  rescue IOError, SystemCallError
    nil
  end

  def starved?
    waiting = (+"").b
    count = [0].pack("i")
    @reader.ioctl(FIONREAD, count)
    waiting << File.read(@call)
    count.unpack1("i").zero? && WAITS.include?(waiting[/\A\d+/])
  rescue IOError, SystemCallError
    false
  end
end
