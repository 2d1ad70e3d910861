# frozen_string_literal: true

require "monitor"
require_relative "streams"

# Which of Ruby's classes behave how: the same list for stock Ruby and for where a scheduler runs.
module Behaviours
  QUEUES = { "a Queue" => -> { Queue.new }, "a SizedQueue" => -> { SizedQueue.new(5) } }.freeze
  LOCKS = { "a Mutex" => -> { Mutex.new }, "a Monitor" => -> { Monitor.new } }.freeze

  STREAM_SOCKETS = {
    "a TCP connection over IPv4" => -> { tcp_pair }, "a TCP connection over IPv6" => -> { tcp_pair("::1") },
    "a UNIX stream" => -> { unix_pair }
  }.freeze
  DATAGRAM_SOCKETS = {
    "UNIX datagrams" => -> { closing(*UNIXSocket.pair(:DGRAM)) },
    "UDP over IPv4" => -> { udp_pair }, "UDP over IPv6" => -> { udp_pair("::1") }
  }.freeze

  def queues = each_of(QUEUES) { |make| it_behaves_like("a queue") { let!(:queue, &make) } }

  def locks = each_of(LOCKS) { |make| it_behaves_like("a mutex") { let!(:lock, &make) } }

  def sockets
    { true => STREAM_SOCKETS, false => DATAGRAM_SOCKETS }.each do |stream, kinds|
      each_of(kinds) do |make|
        let!(:ends, &make)
        let(:left) { ends[0] }
        let(:right) { ends[1] }
        let(:stream?) { stream }

        it_behaves_like "a socket"
        it_behaves_like "a stream socket" if stream
      end
    end
  end

  def readable_ios
    each_of(Streams::KINDS.merge("a file" => :file_ends, "a terminal" => :terminal)) do |make|
      with_ends(make)
      # The end of a terminal is an error of its own.
      it_behaves_like "a readable io" unless make == :terminal
      it_behaves_like "an IO that is read" unless make == :terminal
      it_behaves_like "a readable io that waits" unless make == :file_ends
      it_behaves_like "an IO that is waited for" unless make == :file_ends
      it_behaves_like "an IO that is closed" unless %i[file_ends from_command].include?(make)
    end
  end

  def writable_ios
    each_of(Streams::KINDS.merge("a command's output" => :to_command, "a file" => :file_ends)) do |make|
      with_ends(make)
      it_behaves_like "a writable io"
      it_behaves_like("a writable io that waits") { let(:room) { make == :tcp_pair ? 20_000_000 : 1_000_000 } } unless make == :file_ends
    end
  end

  private

  def each_of(kinds, &examples)
    kinds.each { |name, make| context(name) { class_exec(make, &examples) } }
  end

  def with_ends(make)
    let!(:ends) { public_send(make) }
    let(:reader) { ends[0] }
    let(:writer) { ends[1] }
  end
end
