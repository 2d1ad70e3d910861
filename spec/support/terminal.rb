# frozen_string_literal: true

require "pty"
require "timeout"

# A program at a terminal of its own, and what a person types there.
class Terminal
  # The program does not say what it is waited for.
  class Silent < StandardError; end

  # Seconds in which a program says something.
  PATIENCE = 15

  # Seconds until a key is typed again.
  AGAIN = 0.3

  # Where the cursor is, as a terminal answers who asks.
  POSITION = "\e[1;1R"

  # @param command [Array<String>]
  # @param env [Hash]
  def initialize(*command, env: {})
    home = { "TERM" => "xterm", "HOME" => "/nonexistent", "COLUMNS" => nil, "LINES" => nil }
    @reader, @writer, @pid = PTY.spawn(home.merge(env), *command)
    @said = +""
  end

  # @return [Integer]
  attr_reader :pid

  # Waits until the program has said it since the last answer.
  #
  # @return [MatchData]
  # @raise [Silent] where the program ends first
  def answer(pattern)
    listen until (match = plain.match(pattern))
    @said = +match.post_match
    match
  rescue EOFError, Errno::EIO, Timeout::Error
    raise Silent, "no #{pattern.inspect} in #{plain.inspect}"
  end

  # Types, once the program has said what it is waited for.
  #
  # @return [MatchData]
  def type(keys, at: nil)
    found = answer(at) if at
    @writer.write(keys)
    found
  end

  # Waits until the program ends.
  #
  # @return [Array(String, Process::Status)] what it said, and how it ended
  def finish
    loop { listen }
  rescue EOFError, Errno::EIO
    _, status = Process.wait2(@pid)
    @pid = nil
    [plain, status]
  end

  # Types, and once more while the program says nothing: a key may be lost where the terminal is between two
  # modes, and a signal where the one before is not taken yet.
  #
  # @yield waits for what is typed for
  # @return [Object] the block's value
  def insist(keys)
    PATIENCE.fdiv(AGAIN).to_i.times do
      @writer.write(keys)
      return Timeout.timeout(AGAIN) { yield }
    rescue Timeout::Error, Silent
      next
    end
    yield
  end

  # Ends the program, whatever it does.
  def close
    [@reader, @writer].each { |io| io.close unless io.closed? }
    return unless @pid

    Process.kill(:KILL, @pid)
    Process.wait(@pid)
  end

  private

  def listen
    piece = Timeout.timeout(PATIENCE) { @reader.readpartial(4096) }
    @said << piece
    @writer.write(POSITION) if piece.include?("\e[6n")
  end

  # Without colours and moves of the cursor.
  def plain = @said.dup.force_encoding("UTF-8").scrub.gsub(/\e\[[\d;?]*[a-zA-Z]|\e[()=>][0-9AB]?/, "")
end
