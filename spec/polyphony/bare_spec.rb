# frozen_string_literal: true

RSpec.describe "polyphony/bare" do
  SURVEY = <<~'RUBY'
    require "socket"
    require "monitor"
    require "timeout"
    require "fiber"
    CORE = ObjectSpace.each_object(Module).select { |m| m.name && !m.name.start_with?("Polyphony", "Gem") }.sort_by(&:name)
    def survey
      CORE.to_h do |m|
        own = (m.instance_methods(false) + m.private_instance_methods(false)).sort
        owners = own.to_h { |name| [name, m.instance_method(name).owner.name] }
        [m.name, [m.ancestors.map(&:name), owners, m.singleton_class.ancestors.map(&:name), m.singleton_methods(false).sort]]
      end
    end
    before = survey
    require "polyphony/bare"
    after = survey
    puts before.reject { |name, methods| after[name] == methods }.keys.inspect
  RUBY

  it "touches no class of Ruby's" do
    expect(Child.ruby!(SURVEY, loaded: "rbconfig", env: {})).to eq "[]\n"
  end

  it "serves a server whose every Ractor has a scheduler of its own" do
    out = Child.ruby!(<<~RUBY, loaded: "polyphony/bare")
      require "socket"
      Warning[:experimental] = false
      server = TCPServer.new("127.0.0.1", 0)
      # A descriptor each, which the Ractor closes and no finalizer here does. One after the other: what stock Ruby takes
      # the stacks of new fibers from has no lock, and Ractors that make fibers at once crash now and then, also without us.
      descriptors = 2.times.map { server.dup.tap { |listener| listener.autoclose = false }.fileno }
      ractors = descriptors.map do |own|
        Ractor.new(own) do |descriptor|
          listener = TCPServer.for_fd(descriptor)
          Fiber.set_scheduler(Polyphony::FiberScheduler.new)
          10.times do
            Fiber.schedule do
              client = listener.accept
              while (line = client.gets)
                client.puts line.upcase
              end
              client.close
            end
          end
          Ractor.yield 10
          Fiber.scheduler.run
          10
        end.tap(&:take)
      end
      clients = 20.times.map do |number|
        Thread.new do
          socket = TCPSocket.new("127.0.0.1", server.addr[1])
          socket.puts "request \#{number}"
          socket.gets.tap { socket.close }
        end
      end
      p clients.map(&:value) == (0...20).map { |number| "REQUEST \#{number}\n" }, ractors.sum(&:take)
    RUBY
    expect(out).to eq "true\n20\n"
  end
end

