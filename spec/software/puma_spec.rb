# frozen_string_literal: true

require_relative "../support/software"

# A thread server boots inside; what handles a request may use fibers in its thread.
RSpec.describe "puma" do
  software "puma", requires: %w[puma net/http]

  puma = <<~'RUBY'
    require "puma/server"
    require(Gem::Version.new(Puma::Const::PUMA_VERSION) < Gem::Version.new("6") ? "puma/events" : "puma/log_writer")
    # A server in this process, and its port.
    def serving(threads: 4, &application)
      silent = defined?(Puma::LogWriter) ? Puma::LogWriter.null : Puma::Events.new(StringIO.new, $stderr)
      server = Puma::Server.new(application, *(defined?(Puma::LogWriter) ? [nil] : [silent]),
                                { min_threads: threads, max_threads: threads, log_writer: silent })
      port = server.add_tcp_listener("127.0.0.1", 0).addr[1]
      server.run
      [server, port]
    end
    def ask(port, path = "/") = Net::HTTP.get(URI("http://127.0.0.1:#{port}#{path}"))
  RUBY

  both_ways "boots beside our fibers, which are its clients, and stops", [%w[0 1 2 3], true], puma + <<~'RUBY'
    inside = Thread::Queue.new
    lock = Mutex.new
    all = ConditionVariable.new
    server, port = serving do |environment|
      # Four requests are in their threads before one is answered.
      lock.synchronize do
        inside << 1
        all.broadcast
        all.wait(lock) until inside.size >= 4
      end
      [200, {}, [environment["PATH_INFO"][1..]]]
    end
    answers = together(4) { |number| ask(port, "/#{number}") }
    server.stop(true)
    [answers, error_of { ask(port) }.is_a?(SystemCallError)]
  RUBY

  both_ways "a handler uses fibers in the thread that runs it", %w[10 10 10], puma + <<~'RUBY'
    server, port = serving do |_|
      sum = 0
      if DROP_IN
        sum = 4.times.map { |number| spin { sleep 0.001; number + 1 } }.map(&:await).sum
      else
        Thread.new do
          Fiber.set_scheduler(Polyphony::FiberScheduler.new)
          4.times { |number| Fiber.schedule { sleep 0.001; sum += number + 1 } }
        end.join
      end
      [200, {}, [sum.to_s]]
    end
    answers = together(3) { ask(port) }
    server.stop(true)
    answers
  RUBY

  both_ways "an application that raises, and a client that is cancelled, leave the server to the others", [:cancelled, true, "fine"], puma + <<~'RUBY'
    reached = Thread::Queue.new
    go_on = Thread::Queue.new
    server, port = serving do |environment|
      case environment["PATH_INFO"]
      when "/wait" then reached << 1; go_on.pop
      when "/raise" then raise "meant"
      end
      [200, {}, ["fine"]]
    end
    waiting = go { ask(port, "/wait") }
    reached.pop
    ended = waiting.cancel
    failed = ask(port, "/raise").include?("meant") || Net::HTTP.get_response(URI("http://127.0.0.1:#{port}/raise")).code == "500"
    go_on << 1
    answer = ask(port)
    server.stop(true)
    [ended, failed, answer]
  RUBY

  both_ways "its launcher, which its command runs, waits in a fiber until it is told to stop", [%w[a b], true], <<~'RUBY'
    require "puma"
    require "puma/launcher"
    require "puma/configuration"
    silent = defined?(Puma::LogWriter) ? Puma::LogWriter.null : Puma::Events.new(StringIO.new, StringIO.new)
    free = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
    configuration = Puma::Configuration.new do |config|
      config.bind "tcp://127.0.0.1:#{free}"
      config.threads 1, 2
      config.raise_exception_on_sigterm false
      config.app { |environment| [200, {}, [environment["PATH_INFO"][1..]]] }
    end
    launcher = Puma::Launcher.new(configuration, **(defined?(Puma::LogWriter) ? { log_writer: silent } : { events: silent }))
    running = go { launcher.run; true }
    answers = insist { together(2) { |number| Net::HTTP.get(URI("http://127.0.0.1:#{free}/#{%w[a b][number]}")) } }
    launcher.stop
    [answers, running.value]
  RUBY
end
