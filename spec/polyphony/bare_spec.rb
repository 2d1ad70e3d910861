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

  it "serves Ruby's own scheduler interface" do
    out = Child.ruby!(<<~RUBY, loaded: "polyphony/bare")
      order = []
      Thread.new do
        Fiber.set_scheduler(Polyphony::FiberScheduler.new)
        reader, writer = IO.pipe
        Fiber.schedule { order << reader.gets }
        Fiber.schedule { sleep 0.002; order << :slept; writer.puts "line" }
        Fiber.schedule { order << Queue.new([:item]).pop }
      end.join
      p order
    RUBY
    expect(out).to eq "[:item, :slept, \"line\\n\"]\n"
  end

  root = File.expand_path("../../gem/lib", __dir__)
  # Those in `extensions`, and those that `bare` or `extensions` are made of, are no entrances of their own.
  public_files = %w[polyphony polyphony/bare polyphony/version polyphony/exceptions] +
                 Dir[File.join(root, "polyphony", "{adapters,core}", "*.rb")].sort.map { |file| file[%r{polyphony/(?:adapters|core)/\w+}] } +
                 %w[backend backend_io channel event locks pipe process resource_pool shield thread_pool throttler timer].map { |file| "polyphony/#{file}" }
  public_files.each do |file|
    it "has a sibling #{file} that can be required alone, silently, under -w" do
      out, err, status = Child.ruby("require #{file.inspect}", loaded: "rbconfig", before: [])
      expect([out, err, status.success?]).to eq ["", "", true]
    end
  end

  it "says nothing under -w in any file" do
    files = Dir[File.join(root, "**", "*.rb")]
    complaints = files.filter_map { |file| `ruby -wc #{file} 2>&1`.then { |said| said unless said == "Syntax OK\n" } }
    expect(complaints).to be_empty
  end
end

RSpec.describe "polyphony" do
  it "gives a thread its scheduler at its first call that only Polyphony has" do
    out = Child.ruby!(<<~RUBY)
      sleep 0
      Queue.new([1]).pop
      Mutex.new.synchronize { `true` }
      print Polyphony.scheduler.inspect
      snooze
      print Polyphony.scheduler.class
    RUBY
    expect(out).to eq "nilPolyphony::Scheduler"
  end

  it "leaves other Ractors alone, and says there that it schedules none of their fibers" do
    out = Child.ruby!(<<~RUBY)
      Warning[:experimental] = false
      Polyphony.scheduler!
      ractor = Ractor.new do
        reader, writer = IO.pipe
        writer << "line\n"
        writer.close
        sleep 0
        did = [reader.gets, `echo command`, Mutex.new.synchronize { 1 }, Thread.new { 2 }.value, Queue.new([3]).pop]
        reader.close
        [did, (spin { nil } rescue $!.message)]
      end
      p(*ractor.take)
    RUBY
    expect(out).to eq <<~TEXT
      ["line\\n", "command\\n", 1, 2, 3]
      "Polyphony runs fibers in the main Ractor only"
    TEXT
  end

  it "leaves a foreign fiber scheduler alone, and says so" do
    out = Child.ruby!(<<~RUBY)
      class Other
        def block(*) = nil
        def unblock(*) = nil
        def kernel_sleep(*) = nil
        def io_wait(*) = nil
        def fiber(*) = nil
        def close = nil
      end
      Fiber.set_scheduler(Other.new)
      begin
        spin { nil }
      rescue RuntimeError => e
        puts e.message
      end
    RUBY
    expect(out).to include "Other serves this thread already"
  end
end
