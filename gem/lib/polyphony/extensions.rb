# frozen_string_literal: true

require "monitor"
require "socket"
require "timeout"
begin
  require "zlib"
rescue LoadError
  nil # Ruby was built without it
end

module Polyphony
  # What Ruby's own classes do where a scheduler runs, one file a class.
  #
  # Each module is prepended to its class and calls `super` where no scheduler runs. This is the only
  # place that installs them.
  module Extensions
    require_relative "gathering"
    require_relative "supervision"
    require_relative "life_cycle"
    require_relative "origin"
    require_relative "signals"
    require_relative "verbs"
    require_relative "looping"
    require_relative "elsewhere"
    require_relative "selecting"
    require_relative "extensions/exception"
    require_relative "extensions/fiber"
    require_relative "extensions/fiber/ending"
    require_relative "extensions/fiber/family"
    require_relative "extensions/fiber/life"
    require_relative "extensions/kernel"
    require_relative "extensions/io"
    require_relative "extensions/io/buffers"
    require_relative "extensions/io/moving"
    require_relative "extensions/io/files"
    require_relative "extensions/io/copying"
    require_relative "pipe"
    require_relative "extensions/socket"
    require_relative "extensions/socket/options"
    require_relative "extensions/socket/messages"
    require_relative "extensions/socket/resolving"
    require_relative "extensions/socket/dialing"
    require_relative "extensions/late"
    require_relative "compression"
    require_relative "net"
    require_relative "backend_io"
    require_relative "extensions/queue"
    require_relative "extensions/queue_extras"
    require_relative "extensions/mutex"
    require_relative "extensions/lock_extras"
    require_relative "extensions/thread"
    require_relative "extensions/process"
    require_relative "extensions/timeout"
    require_relative "extensions/zlib"
    require_relative "extensions/paths"
    require_relative "extensions/dir"
    require_relative "extensions/ractor"
    require_relative "original_names"

    INSTANCES = {
      ::Exception => Extensions::Exception,
      ::Fiber => Extensions::Fiber, ::Kernel => Extensions::Kernel, ::IO => Extensions::IO,
      ::File => Extensions::IO::FileMethods, ::File::Stat => Extensions::Paths::Stat,
      ::BasicSocket => Extensions::BasicSocket, ::Socket => Extensions::Socket,
      ::TCPSocket => Extensions::TCPSocket, ::TCPServer => Extensions::TCPServer,
      ::UNIXSocket => Extensions::UNIXSocket, ::UNIXServer => Extensions::UNIXServer,
      ::UDPSocket => Extensions::UDPSocket, ::IPSocket => Extensions::IPSocket,
      ::Thread::Queue => Extensions::Queue, ::Thread::SizedQueue => Extensions::SizedQueue,
      ::Thread::Mutex => Extensions::Mutex, ::Thread::ConditionVariable => Extensions::ConditionVariable,
      ::Monitor => Extensions::Monitor, ::MonitorMixin => Extensions::MonitorMixin,
      ::Thread => Extensions::Thread, ::Dir => Extensions::Dir, ::Ractor => Extensions::Ractor,
      **(defined?(::Zlib) ? { ::Zlib::Deflate => Extensions::Zlib::Deflate, ::Zlib::Inflate => Extensions::Zlib::Inflate,
                              ::Zlib::GzipWriter => Extensions::Zlib::GzipWriter,
                              ::Zlib::GzipReader => Extensions::Zlib::GzipReader } : {})
    }.freeze

    SINGLETONS = {
      ::Exception => Extensions::Exception::Singleton, ::Thread => Extensions::Thread::Singleton,
      ::Process::Status => Extensions::Process::Status,
      ::IO => Extensions::IO::Singleton, ::File => Extensions::Paths::Singleton, ::FileTest => Extensions::Paths::Tests,
      ::Fiber => Extensions::Fiber::Singleton, ::Kernel => Extensions::KernelFunctions,
      ::Process => Extensions::Process, ::Timeout => Extensions::Timeout,
      ::Socket => Extensions::Resolving::OfSocket, ::Addrinfo => Extensions::Resolving::OfAddrinfo,
      ::IPSocket => Extensions::Resolving::OfIPSocket,
      ::TCPSocket => Extensions::Resolving::OfTCPSocket, ::Dir => Extensions::Dir::Singleton,
      ::Ractor => Extensions::Ractor::Singleton,
      **(defined?(::Zlib) ? { ::Zlib => Extensions::Zlib, ::Zlib::Deflate => Extensions::Zlib::Deflate::Singleton,
                              ::Zlib::Inflate => Extensions::Zlib::Inflate::Singleton } : {})
    }.freeze

    private_constant :INSTANCES, :SINGLETONS

    # Prepends every module to its class. Doing it again changes nothing.
    #
    # @return [void]
    def self.install
      return if @installed

      @installed = true
      OriginalNames.define
      INSTANCES.each { |owner, extension| owner.prepend(extension) }
      SINGLETONS.each { |owner, extension| owner.singleton_class.prepend(extension) }
      ::Thread::Queue.include(QueueExtras)
      ::Thread::Mutex.include(MutexExtras)
      ::Monitor.include(MonitorExtras)
      ::Kernel.include(Verbs)
      ::Object.include(Verbs) # Object took Kernel in before Kernel took the verbs in
      ::Kernel.at_exit { Polyphony.finish }
      Late.install
    end
  end
end
