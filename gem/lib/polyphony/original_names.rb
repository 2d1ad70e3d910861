# frozen_string_literal: true

module Polyphony
  # The `orig_…` names by which programs written for Polyphony 1 reach what stock Ruby does. They name the
  # very methods: an alias made before a module is prepended stays what it was.
  #
  # @api private
  module OriginalNames
    KERNEL = { sleep: :orig_sleep, :` => :orig_backtick, gets: :orig_gets, p: :orig_p, system: :orig_system,
               trap: :orig_trap }.freeze
    THREAD = { join: :orig_join, raise: :orig_raise, kill: :orig_kill, inspect: :orig_inspect,
               initialize: :orig_initialize }.freeze
    # Ours: what changes several items at once calls the very `push` and `pop`.
    QUEUE = { pop: :__take__, push: :__put__ }.freeze
    IO = %i[read readpartial read_nonblock gets getc getbyte ungetc ungetbyte write write_nonblock close].freeze
    IO_FUNCTIONS = %i[binread binwrite read write readlines foreach popen copy_stream].freeze
    TLS = %i[accept close sysread syswrite read peeraddr].freeze
    private_constant :KERNEL, :THREAD, :QUEUE, :IO, :IO_FUNCTIONS, :TLS

    # Gives the names.
    #
    # @return [void]
    def self.define
      give(::Kernel, KERNEL)
      ::Kernel.send(:private, *KERNEL.values)
      give(::Kernel.singleton_class, { trap: :orig_trap, system: :orig_system })
      give(::Thread, THREAD)
      ::Thread.send(:private, :orig_initialize)
      [::Thread::Queue, ::Thread::SizedQueue].each do |queue|
        give(queue, QUEUE)
        queue.send(:private, *QUEUE.values)
      end
      give(::IO, original(IO))
      give(::IO.singleton_class, original(IO_FUNCTIONS))
    end

    # Gives those of TLS, once it is there.
    #
    # @return [void]
    def self.define_for_tls
      give(::OpenSSL::SSL::SSLSocket, original(TLS))
      give(::OpenSSL::SSL::SSLServer, original(%i[accept close]))
    end

    def self.original(names) = names.to_h { |name| [name, :"orig_#{name}"] }

    def self.give(owner, names)
      names.each { |method, original| owner.send(:alias_method, original, method) }
    end
    private_class_method :give, :original
  end
end
