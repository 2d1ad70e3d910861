# frozen_string_literal: true

# The debug gem takes `trap` over, and runs a thread of its own beside the program.
RSpec.describe "A program with the debug gem loaded" do
  there = system(RbConfig.ruby, "-rdebug", "-e", "0", %i[out err] => File::NULL)

  PROGRAM = <<~'RUBY'
    handled = false
    trap("INT") { sleep 0.001; handled = true }
    Process.kill(:INT, Process.pid)
    sleep 0.001 until handled
    puts "handled"
    queue = Queue.new
    spin { 3.times { |number| sleep 0.001; queue << number } }
    p Array.new(3) { queue.pop }
    p Thread.new { spin { 7 }.await }.value
    p move_on_after(0.01, with_value: :moved) { sleep }
    begin
      trap("INT", "DEFAULT")
      Process.kill(:INT, Process.pid)
      sleep
    rescue Interrupt
      puts "interrupted"
    end
  RUBY

  { "before" => %w[debug polyphony], "after" => %w[polyphony debug] }.each do |order, libraries|
    it "runs as without it, loaded #{order} the drop-in", skip: ("the debug gem is not installed" unless there) do
      out, err, status = Child.ruby(libraries.map { |library| "require #{library.inspect}\n" }.join + PROGRAM, loaded: "rbconfig", before: ["env", "RUBYLIB=#{Child::LIBRARY}"])
      expect([out, err, status.exitstatus]).to eq ["handled\n[0, 1, 2]\n7\n:moved\ninterrupted\n", "", 0]
    end
  end

  it "stops where it is told to, and fibers go on afterwards", skip: ("the debug gem is not installed" unless there) do
    out, = Child.ruby(<<~'RUBY')
      require "debug"
      one = spin { sleep 0.001; 43 }
      binding.break(do: "puts 6 * 7")
      p one.await
    RUBY
    expect(out).to match(/^42$.*^43$/m)
  end
end
