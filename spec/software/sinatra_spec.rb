# frozen_string_literal: true

require_relative "../support/software"

RSpec.describe "sinatra" do
  software "sinatra", requires: %w[sinatra/base puma net/http timeout]

  both_ways "on puma, with our fibers in its handlers: they ask another server, all at once", %w[0,1,2,3 404], <<~'RUBY'
    require "puma/server"
    require(Gem::Version.new(Puma::Const::PUMA_VERSION) < Gem::Version.new("6") ? "puma/events" : "puma/log_writer")
    require "socket"

    # Answers when four have asked.
    BEHIND = TCPServer.new("127.0.0.1", 0)
    Thread.new do
      clients = 4.times.map { BEHIND.accept.tap { |it| it.gets } }
      clients.each_with_index { |client, number| client.puts number; client.close }
    end

    class Application < Sinatra::Base
      set :environment, :production
      set :host_authorization, { permitted_hosts: [] } if respond_to?(:host_authorization)
      helpers do
        def ask = TCPSocket.open("127.0.0.1", BEHIND.addr[1]) { |socket| socket.puts "x"; socket.gets.chomp }
      end

      get "/all" do
        answers = []
        if DROP_IN
          answers = 4.times.map { spin { ask } }.map(&:await)
        else
          Thread.new do
            Fiber.set_scheduler(Polyphony::FiberScheduler.new)
            4.times { Fiber.schedule { answers << ask } }
          end.join
        end
        answers.sort.join(",")
      end
    end

    silent = defined?(Puma::LogWriter) ? Puma::LogWriter.null : Puma::Events.new(StringIO.new, StringIO.new)
    server = Puma::Server.new(Application, *(defined?(Puma::LogWriter) ? [nil] : [silent]), { min_threads: 2, max_threads: 2, log_writer: silent })
    port = server.add_tcp_listener("127.0.0.1", 0).addr[1]
    server.run
    answers = [Net::HTTP.get(URI("http://127.0.0.1:#{port}/all")), Net::HTTP.get_response(URI("http://127.0.0.1:#{port}/none")).code]
    server.stop(true)
    answers
  RUBY

  both_ways "a fiber of a handler is ended by its time, and a client is cancelled: the others are answered",
            [:cancelled, %w[answer,late plain], %w[plain plain plain]], <<~'RUBY'
    require "puma/server"
    require(Gem::Version.new(Puma::Const::PUMA_VERSION) < Gem::Version.new("6") ? "puma/events" : "puma/log_writer")
    require "socket"
    BEHIND = TCPServer.new("127.0.0.1", 0)
    REACHED, GO_ON = Thread::Queue.new, Thread::Queue.new
    # Answers one of two that ask.
    Thread.new do
      clients = 2.times.map { BEHIND.accept }
      clients.find { |it| it.gets == "fast\n" }.puts "answer"
      GO_ON.pop
      clients.each(&:close)
    end
    class Application < Sinatra::Base
      set :environment, :production
      set :host_authorization, { permitted_hosts: [] } if respond_to?(:host_authorization)
      helpers do
        def ask(word) = TCPSocket.open("127.0.0.1", BEHIND.addr[1]) { |socket| socket.puts word; socket.gets&.chomp }
        # Two fibers in this thread; who is late is ended.
        def within_time
          answers = []
          job = lambda do |word|
            answers << Timeout.timeout(word == "slow" ? 0.05 : 20) { ask(word) }
          rescue Timeout::Error
            answers << "late"
          end
          if DROP_IN
            %w[slow fast].map { |word| spin { job[word] } }.each(&:await)
          else
            Thread.new do
              Fiber.set_scheduler(Polyphony::FiberScheduler.new)
              %w[slow fast].each { |word| Fiber.schedule { job[word] } }
            end.join
          end
          answers.sort.join(",")
        end
      end
      get("/both") { within_time }
      get("/wait") { REACHED << 1; GO_ON.pop; "waited" }
      get("/plain") { "plain" }
    end
    silent = defined?(Puma::LogWriter) ? Puma::LogWriter.null : Puma::Events.new(StringIO.new, StringIO.new)
    server = Puma::Server.new(Application, *(defined?(Puma::LogWriter) ? [nil] : [silent]), { min_threads: 3, max_threads: 3, log_writer: silent })
    port = server.add_tcp_listener("127.0.0.1", 0).addr[1]
    server.run
    get = ->(path) { Net::HTTP.get(URI("http://127.0.0.1:#{port}/#{path}")) }
    stuck = go { get["wait"] }
    REACHED.pop
    both = go { get["both"] }
    answers = [both.value, get["plain"]]
    ended = stuck.cancel
    2.times { GO_ON << 1 }
    [ended, answers, together(3) { get["plain"] }].tap { server.stop(true) }
  RUBY
end
