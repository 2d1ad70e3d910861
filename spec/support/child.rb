# frozen_string_literal: true

require "open3"
require "rbconfig"

# Who starts the specs in the background has it ignored, as a shell does; a child would inherit that.
earlier = Signal.trap(:QUIT, "DEFAULT")
Signal.trap(:QUIT, earlier) unless earlier == "IGNORE"

# Child processes: forks of this one, and Ruby anew.
module Child
  # What a child of `forked` raised.
  class Failed < StandardError; end

  RUBY = [RbConfig.ruby, "-w"].freeze
  LIBRARY = File.expand_path("../../gem/lib", __dir__)

  # Seconds that another Ruby is given: a hang there must not outlive us.
  LIMIT = "25"

  @pids = []
  class << self
    # The children that are alive, as far as we know.
    attr_reader :pids
  end

  module_function

  # Forks; the block's value comes back, or what it raised. The child runs no exit handlers.
  def forked
    reader, writer = IO.pipe
    pid = fork do
      reader.close
      begin
        answer = [:value, yield]
      rescue Exception => e # rubocop:disable Lint/RescueException
        answer = [:raised, "#{e.class}: #{e.message}\n  #{e.backtrace&.first(8)&.join("\n  ")}"]
      end
      writer.write(Marshal.dump(answer))
      writer.close
      exit!(0)
    end
    Child.pids << pid
    writer.close
    answer = reader.read
    status = Process.wait2(pid).last
    Child.pids.delete(pid)
    raise Failed, "the child ended with #{status} and no answer" if answer.empty?

    kind, value = Marshal.load(answer)
    raise Failed, value if kind == :raised

    value
  ensure
    reader&.close
  end

  # Runs a script in a new Ruby with the drop-in loaded: what it printed, what it complained of, its status.
  def ruby(script, *arguments, loaded: "polyphony", env: {}, before: [])
    library = loaded ? ["-I", LIBRARY, "-r", loaded] : []
    command = ["timeout", "-k", "1", LIMIT, *before, *RUBY, *library, "-e", script, *arguments]
    # In a thread that runs no fibers: what is tested here is the other process.
    Thread.new { Open3.capture3(env, *command) }.value
  end

  # Like `ruby`, for scripts that print one thing and must neither fail nor complain.
  def ruby!(script, *arguments, **options)
    out, err, status = ruby(script, *arguments, **options)
    raise Failed, "#{status}\n#{out}\n#{err}" unless status.success? && err.empty?

    out
  end
end
