# frozen_string_literal: true

require "open3"

RSpec.describe Open3 do
  # Runs the block beside a fiber that counts; both.
  def beside
    ticks = 0
    ticker = spin { loop { ticks += 1; sleep 0 } }
    [yield, ticks]
  ensure
    ticker.stop
    ticker.await
  end

  everywhere "the main fiber", "a spun fiber", "a thread" do
    it "captures both outputs and the status while others run" do
      data = random.bytes(200_000)
      (out, err, status), ticks = beside { Open3.capture3("cat; cat /proc/version >&2; exit 3", stdin_data: data, binmode: true) }
      expect([out == data, err, status.exitstatus]).to eq [true, File.read("/proc/version"), 3]
      expect(ticks).to be > 2
    end

    it "captures one output, or both as one" do
      expect(Open3.capture2("cat", stdin_data: "in").first).to eq "in"
      expect(Open3.capture2e("echo out; echo err >&2").first).to eq "out\nerr\n"
    end

    it "talks with a command" do
      answer = Open3.popen3("read line; echo $line; echo err >&2") do |input, out, err, ended|
        input.puts "hello"
        [out.gets, err.gets, ended.value.success?]
      end
      expect(answer).to eq ["hello\n", "err\n", true]
    end

    it "reads the end of a pipeline" do
      expect(Open3.pipeline_r("echo hello", "tr a-z A-Z") { |out, _| out.read }).to eq "HELLO\n"
    end
  end
end
