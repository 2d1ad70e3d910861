# frozen_string_literal: true

require_relative "../support/software"

RSpec.describe "net/http" do
  software "net/http", requires: %w[net/http openssl timeout], server: :http

  # What the examples begin with.
  http = <<~'RUBY'
    PORT, TLS_PORT, SILENT, CERTIFICATE = *ARGV[0, 3].map(&:to_i), ARGV[3]
    def client(port = PORT, host: "localhost", **options)
      Net::HTTP.new(host, port).tap do |http|
        http.use_ssl, http.ca_file = true, CERTIFICATE unless port == PORT
        options.each { |name, value| http.public_send(:"#{name}=", value) }
      end
    end
    def ask(path) = Net::HTTP.get(URI("http://127.0.0.1:#{PORT}/#{path}"))
  RUBY

  both_ways "eight requests are at the server before the first is answered", (0...8).map(&:to_s), http + <<~'RUBY'
    together(8) { |number| ask("together/8/#{$$}/#{number}") }
  RUBY

  both_ways "eight requests over TLS wait at once, the certificate verified", (0...8).map(&:to_s), http + <<~'RUBY'
    together(8) { |number| client(TLS_PORT).start { |http| http.get("/together/8/#{$$}/#{number}").body } }
  RUBY

  both_ways "a connection is kept alive, each fiber's its own", [%w[/a /b /c], 4], http + <<~'RUBY'
    before = ask("connections").to_i
    answers = together(4) { client.start { |http| %w[/a /b /c].map { |path| http.get(path).body } } }
    [answers.uniq.first, ask("connections").to_i - before - 1]
  RUBY

  both_ways "a large body goes there and comes back, streamed and in chunks", [true, 1_000_000, "hello world"], http + <<~'RUBY'
    body = "0123456789" * 100_000
    together(2) do
      client.start do |http|
        streamed = +""
        http.request(Net::HTTP::Post.new("/echo").tap { |request| request.body = body }) { |response| response.read_body { |piece| streamed << piece } }
        [streamed == body, http.post("/echo", body).body.size, http.get("/chunks").body]
      end
    end.uniq.first
  RUBY

  both_ways "read_timeout ends one request and no other, and the client goes on", ["Net::ReadTimeout", "/after", %w[1 2]], http + <<~'RUBY'
    late = go do
      client(read_timeout: 0.05, max_retries: 0).start do |http|
        [error_of { http.get("/never") }.class.name, http.get("/after").body]
      end
    end
    others = [1, 2].map { |number| go { ask("together/2/#{$$}/#{number}") } }
    [*late.value, others.map(&:value)]
  RUBY

  both_ways "open_timeout ends a handshake that never comes to its end", ["Net::OpenTimeout", "/echo"], http + <<~'RUBY'
    late = go { error_of { client(SILENT, open_timeout: 0.05, ssl_timeout: 0.05).start }.class.name }
    [late.value, ask("echo")]
  RUBY

  both_ways "other fibers run while a request waits", true, http + <<~'RUBY'
    waiting = go { ask("never") }
    ask_until { ask("held") == "1" }
    ran = others_ran { go { sleep 0.02 }.value }
    waiting.cancel
    ran
  RUBY

  both_ways "a request that is cancelled in the middle of its answer closes its connection, and the client can be used again",
            [:cancelled, "0", "/echo", "a"], http + <<~'RUBY'
    http = client
    waiting = go { http.start { http.get("/half") } }
    other = go { ask("together/2/#{$$}/a") }
    ask_until { ask("held") == "1" }
    ended = waiting.cancel
    ask_until { ask("held") == "0" }
    go { ask("together/2/#{$$}/b") }
    [ended, ask("held"), http.start { http.get("/echo").body }, other.value]
  RUBY

  both_ways "a request that is cancelled in the middle of a handshake leaves the others", [:cancelled, "0", "/echo"], http + <<~'RUBY'
    waiting = go { client(SILENT).start { |http| http.get("/echo") } }
    other = client(TLS_PORT).start
    ask_until { ask("silent") == "1" }
    ended = waiting.cancel
    ask_until { ask("silent") == "0" }
    [ended, ask("silent"), other.get("/echo").body]
  RUBY

  both_ways "Timeout.timeout ends a request in any stage, with its own error", ["Timeout::Error", "Timeout::Error", "KeyError", "/echo"], http + <<~'RUBY'
    ended = together(3) do |number|
      error_of { Timeout.timeout(0.05, *([KeyError] if number == 2)) { number == 1 ? client(SILENT).start : ask("never") } }.class.name
    end
    [*ended, ask("echo")]
  RUBY

  both_ways "a refused connection is refused, and a wrong certificate told", ["Errno::ECONNREFUSED", "OpenSSL::SSL::SSLError"], http + <<~'RUBY'
    free = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
    [error_of { Net::HTTP.get(URI("http://127.0.0.1:#{free}/")) }.class.name,
     error_of { client(TLS_PORT, ca_file: nil).start }.class.name]
  RUBY
end
