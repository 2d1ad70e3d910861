# frozen_string_literal: true

require "tmpdir"
require_relative "http_server"
require_relative "tls"

# Real servers, each on sockets of its own in a directory of its own.
module Servers
  # What a program begins with that asks a server.
  ASKING = <<~'RUBY'
    # Tries until it works: a server may not listen yet.
    def insist(attempts = 1000)
      yield
    rescue StandardError
      (attempts -= 1).positive? ? (sleep 0.01; retry) : raise
    end

    # Asks until the answer is yes.
    def ask_until(attempts = 1000)
      attempts.times { yield ? return : sleep(0.01) }
      raise "never"
    end
  RUBY

  # Debian's package of the server starts one on the machine; that of the tools has the same program.
  REDIS = %w[redis-server redis-check-rdb].filter_map { |name| ENV["PATH"].split(":").map { |path| File.join(path, name) }.find { |path| File.executable?(path) } }.first
  POSTGRES = Dir["/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin"].max
  MARIADB = Dir["{#{ENV["PATH"].tr(":", ",")},/usr/sbin,/usr/local/sbin}/{mariadbd,mysqld}"].first

  # A server that runs until it is released.
  class Kept
    # @return [Array<String>] where it is
    attr_reader :arguments

    def initialize(kind)
      started = ::Thread::Queue.new
      @over = ::Thread::Queue.new
      @thread = Thread.new do
        Servers.public_send(kind) { |*arguments| started << arguments && @over.pop }
      ensure
        started.close
      end
      @arguments = started.pop || @thread.value
    end

    def release
      @over.close
      @thread.join
    end
  end

  module_function

  def keep(kind) = Kept.new(kind)

  def installed?(kind)
    case kind
    when :redis then REDIS
    when :postgres then POSTGRES
    when :mariadb then MARIADB
    when :http then true
    end
  end

  # Yields three ports of a server of stock Ruby, plain, TLS and one that says nothing, and the certificate's path.
  def http
    within do |directory|
      File.write("#{directory}/certificate.pem", TLS.certificate.to_pem)
      File.write("#{directory}/key.pem", TLS.key.to_pem)
      IO.popen([RbConfig.ruby, HTTPServer::PROGRAM, directory], "r+") do |program|
        yield(*program.gets.split, "#{directory}/certificate.pem")
      end
    end
  end

  # Yields the path of a socket.
  def redis
    within do |directory|
      socket = File.join(directory, "redis.sock")
      options = { "port" => "0", "unixsocket" => socket, "save" => "", "dir" => directory }
      running([REDIS, "redis-server"], *options.flat_map { |name, value| ["--#{name}", value] }) { yield socket }
    end
  end

  # Yields the directory of a socket; the user is postgres.
  def postgres
    within do |directory|
      # The server refuses to be root.
      user = Process.uid.zero? ? %w[setpriv --reuid=postgres --regid=postgres --clear-groups] : []
      FileUtils.chown("postgres", "postgres", directory) if user.any?
      data = File.join(directory, "data")
      made = system(*user, "#{POSTGRES}/initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-D", data, chdir: "/", out: File::NULL)
      raise "initdb failed" unless made

      settings = { "listen_addresses" => "", "fsync" => "off", "unix_socket_directories" => directory }
      running(*user, "#{POSTGRES}/postgres", "-D", data, *settings.flat_map { |name, value| ["-c", "#{name}=#{value}"] }) { yield directory }
    end
  end

  # Yields the path of a socket; any user may do anything. There are no databases, not even the server's own.
  def mariadb
    within do |directory|
      socket = File.join(directory, "mariadb.sock")
      user = Process.uid.zero? ? %w[--user=root] : []
      Dir.mkdir(File.join(directory, "data"))
      # It hears no SIGINT.
      running(MARIADB, "--no-defaults", *user, "--skip-networking", "--skip-grant-tables", "--innodb-buffer-pool-size=8M",
              "--datadir=#{directory}/data", "--socket=#{socket}", "--pid-file=#{directory}/pid", ending: :TERM) { yield socket }
    end
  end

  def within(&block) = Dir.mktmpdir(&block)

  def running(*command, ending: :INT)
    pid = spawn(*command, chdir: "/", %i[out err] => File::NULL)
    yield
  ensure
    if pid
      Process.kill(ending, pid)
      Process.wait(pid)
    end
  end
end
