# frozen_string_literal: true

require "json"
require "tempfile"

# The check that stands around each example here, in an rspec of its own whose examples leave things behind.
RSpec.describe "What outlives an example" do
  LEAKS = <<~'RUBY'
    Leftovers.patience = 30
    RSpec.describe "leaving" do
      it("nothing") { spin { suspend }.tap { |fiber| snooze; fiber.stop; fiber.await } }
      it("fibers") { spin { suspend } }
      it("operations") { ends = $ends = IO.pipe; spin { ends[0].read }; 2.times { snooze } }
      it("timers") { spin { sleep 1000 }; 2.times { snooze } }
      it("descriptors") { $file = File.open("/dev/null") }
      it("threads") { $thread = Thread.new { sleep } }
      it("processes") { reader, $writer = IO.pipe; spawn("cat", in: reader); reader.close }
      it("processes of a thread") do
        made = Queue.new
        Thread.new { reader, $other = IO.pipe; made << spawn("cat", in: reader); sleep }
        made.pop
      end
      it("descriptors in a forked child", place: "a forked child") { $file = File.open("/dev/null") }
      it("fibers in a forked child", place: "a forked child") { spin { suspend } }
    end
  RUBY

  # What each example left, in words.
  def left
    Tempfile.create(["leaks", ".rb"]) do |file|
      file.write(LEAKS)
      file.close
      command = [*Child::RUBY, "-S", "rspec", "-I", Child::LIBRARY, "-r", "spec_helper", "--order", "defined", "--format", "json", file.path]
      out, = Thread.new { Open3.capture3("timeout", "-k", "1", Child::LIMIT, *command, chdir: File.expand_path("../..", __dir__)) }.value
      JSON.parse(out[/^\{.*\}$/])["examples"].to_h { |example| [example["description"], example.dig("exception", "message")] }
    end
  end

  it "is found: fibers, operations, timers, descriptors, threads and processes, also in a child" do
    found = left
    expect(found.delete("nothing")).to be_nil
    expect(found.keys.size).to eq 9
    found.each { |name, message| expect(message).to match(/left behind: .*:?#{name.split.first}[:=]/), "#{name}: #{message.inspect}" }
  end
end
