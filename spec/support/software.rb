# frozen_string_literal: true

require "json"
require_relative "servers"
require_relative "http_server"

# Libraries of others, unmodified, beside our fibers: one body, run in a process of its own in each way there is.
#
#     drop-in     require "polyphony"; the body runs in the main fiber, `go` spins
#     scheduler   require "polyphony/bare"; the body runs in a fiber of Fiber.schedule, and so does what `go` is given
#
# A body says what it waits for: it asks a server how many wait there, and never how long something took.
# What was seen is told to {Software::Report}, of which bin/compatibility makes docs/compatibility.md.
module Software
  WAYS = { "drop-in" => "polyphony", "scheduler" => "polyphony/bare" }.freeze

  # What a body may use.
  PRELUDE = <<~'RUBY'
    Stopped = Class.new(Exception)

    # A fiber, and how it ended.
    class Job
      def initialize
        @over = Thread::Queue.new
      end

      attr_writer :fiber

      def run(block)
        @value = block.call
      rescue Stopped, Polyphony::BaseException
        @value = :cancelled
      rescue Exception => e
        @error = e
      ensure
        @over.close
      end

      # Waits for the end.
      def value
        @over.pop
        @error ? raise(@error) : @value
      end

      def over? = @over.closed?

      def error
        @over.pop
        @error
      end

      # Ends the fiber in the middle of what it waits for.
      def cancel
        DROP_IN ? @fiber.stop : Fiber.scheduler.fiber_interrupt(@fiber, Stopped.new)
        self.value
      end
    end

    # Ruby's own Mutex#sleep, which conditions wait by, does not take its lock again where a scheduler's fiber is ended
    # (the drop-in's does), and the unlocking that follows complains.
    def cancelled_while_a_condition_waits(job)
      job.cancel
    rescue ThreadError
      DROP_IN ? raise : :cancelled
    end

    DROP_IN = respond_to?(:spin, true)

    def go(&block)
      job = Job.new
      body = -> { job.run(block) }
      job.fiber = DROP_IN ? spin(&body) : Fiber.schedule(&body)
      job
    end

    # The values of as many fibers as asked for, which wait at the same time.
    def together(count) = count.times.map { |number| go { yield number } }.map(&:value)

    # How many turns another fiber got while the block waited: more than one, where it let others run.
    def others_ran
      over = false
      turns = 0
      ticker = go { until over; turns += 1; sleep 0; end }
      before = turns
      yield
      turns - before > 1
    ensure
      over = true
      ticker&.value
    end

    # What the block raised.
    def error_of
      yield
      nil
    rescue StandardError => e
      e
    end

    def main(&block)
      return block.call if DROP_IN

      Fiber.set_scheduler(Polyphony::FiberScheduler.new)
      job = go do
        block.call
      rescue Exception => e
        # The fibers that it leaves would be waited for.
        # Not `warn`, which says nothing under -W0.
        $stderr.puts e.full_message(highlight: false)
        exit!(1)
      end
      Fiber.scheduler.run
      job.value
    end
  RUBY

  class << self
    # Why a library cannot be tested here, if it cannot.
    def missing(libraries, server)
      absent = libraries.reject { |library| installed?(library) }
      return "#{absent.join(" and ")}: not installed for Ruby #{RUBY_VERSION}" if absent.any?

      "#{server}: the server is not installed" if server && !Servers.installed?(server)
    end

    def installed?(library)
      @installed ||= {}
      @installed.fetch(library) do
        @installed[library] = system(RbConfig.ruby, "-W0", "-r#{library}", "-e", "0", %i[out err] => File::NULL) || false
      end
    end
  end

  # What example groups learn.
  module Examples
    # A library and what it needs.
    #
    # @param requires [Array<String>] what is required before the body, and must be installed
    # @param server [Symbol, nil] a server of {Servers}, started once for all examples of the group; its
    #   address is the first argument of each body
    def software(name, requires:, server: nil)
      metadata[:software] = name
      metadata[:requires] = requires
      metadata[:skip_reason] = Software.missing(requires, server)
      return if metadata[:skip_reason] || !server

      before(:context) { @server = Servers.keep(server) }
      after(:context) { @server&.release }
    end

    # An example in each way: the body's value is what is expected.
    #
    # @param only [String] the name of a way, where the other one cannot do it; then `because` says why
    def both_ways(description, expected, body, only: nil, because: nil)
      reason = metadata[:skip_reason]
      requires = metadata[:requires].map { |library| "require #{library.dump}\n" }.join
      WAYS.each do |way, library|
        skipped = reason || (because if only && only != way)
        it "#{description} (#{way})", way: way, tested: description, limit: 60, skip: skipped do
          script = "#{Servers::ASKING}#{PRELUDE}#{requires}p(main do\n#{body}\nend)"
          out, err, status = Child.ruby(script, *@server&.arguments, loaded: library, env: { "RUBYOPT" => "-W0" })
          expect([out.chomp, (err.lines.first(20).join unless status.success?)]).to eq [expected.inspect, nil]
        end
      end
    end
  end

  # Writes what was seen into the directory that POLYPHONY_COMPATIBILITY names, a file a Ruby and backend.
  module Report
    DIRECTORY = ENV.fetch("POLYPHONY_COMPATIBILITY", nil)

    @seen = []

    class << self
      def add(example)
        metadata = example.metadata
        tested = metadata[:tested] || example.full_description
        @seen << { software: metadata[:software], tested: tested, way: metadata[:way],
                   ruby: RUBY_VERSION, backend: backend, **outcome(example) }
      end

      def write
        return if @seen.empty?

        FileUtils.mkdir_p(DIRECTORY)
        File.write(File.join(DIRECTORY, "#{RUBY_VERSION}-#{backend}.json"), JSON.pretty_generate(@seen))
      end

      private

      def backend = Polyphony.scheduler!.kind.to_s

      def outcome(example)
        result = example.execution_result
        return { outcome: "skipped", reason: result.pending_message } if result.status == :pending

        { outcome: example.exception ? "failed" : "passed" }
      end
    end

    # What RSpec calls.
    class Formatter
      RSpec::Core::Formatters.register self, :example_passed, :example_failed, :example_pending, :close

      def initialize(_output) = nil

      %i[example_passed example_failed example_pending].each do |name|
        define_method(name) { |told| Report.add(told.example) if told.example.metadata[:way] }
      end

      def close(_told) = Report.write
    end
  end

  RSpec.configure do |config|
    config.extend Examples
    next unless Report::DIRECTORY

    config.add_formatter(:progress)
    config.add_formatter(Report::Formatter)
  end
end
