# frozen_string_literal: true

# A dialogue with states: enough of SMTP to take a mail. It is printed, and delivered nowhere.
#
#     ruby smtp_server.rb [PORT]
require "polyphony"
require "socket"

class Session
  PATIENCE = 60

  def initialize(socket)
    @socket = socket
    start_over
  end

  def run
    say 220, "localhost"
    while (line = cancel_after(PATIENCE) { @socket.gets(chomp: true) })
      break if answer(line) == :quit
    end
  rescue SystemCallError, Polyphony::Cancel
    # The client went away, or fell asleep.
  ensure
    @socket.close
  end

  private

  def start_over
    @sender = nil
    @recipients = []
  end

  def say(code, text) = @socket.write("#{code} #{text}\r\n")

  def answer(line)
    case line
    when /\A(HELO|EHLO) /i then say 250, "hello"
    when /\AMAIL FROM:<(.*)>/i then take_sender($1)
    when /\ARCPT TO:<(.+)>/i then take_recipient($1)
    when /\ADATA/i then take_mail
    when /\AQUIT/i
      say 221, "bye"
      :quit
    else say 500, "what?"
    end
  end

  def take_sender(address)
    @sender = address
    say 250, "ok"
  end

  def take_recipient(address)
    return say(503, "who are you?") unless @sender

    @recipients << address
    say 250, "ok"
  end

  def take_mail
    return say(503, "to whom?") if @recipients.empty?

    say 354, "go on"
    lines = @socket.each_line(chomp: true).take_while { |line| line != "." }
    puts "#{@sender} -> #{@recipients.join(', ')}: #{lines.size} lines, #{lines.grep(/\ASubject:/).first}"
    start_over
    say 250, "taken"
  end
end

$stdout.sync = true
begin
  server = TCPServer.new("127.0.0.1", ARGV.fetch(0, 0))
  puts "listening on 127.0.0.1:#{server.addr[1]}"
  server.accept_loop { |socket| spin { Session.new(socket).run } }
rescue SignalException # SIGINT or SIGTERM
  puts "stopped"
end
