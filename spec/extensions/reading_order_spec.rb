# frozen_string_literal: true

require "stringio"
require "tempfile"
require "zlib"

# Every way of reading after every other, in seeded disorder: all see one stream, each byte once and in order.
#
# A way is told the stream, what is left of it and a number. It says how many bytes it took, after it has
# compared them with what it had to give.
RSpec.describe "Any way of reading" do
  # What a way gave was not what stands there.
  class Disorder < StandardError; end

  # What may come in pieces: never too much, and nothing only at the end.
  def piece(got, left, most)
    bytes = got.to_s.b
    fits = left.start_with?(bytes) && bytes.bytesize <= most && bytes.empty? == left.empty?
    fits ? bytes.bytesize : raise(Disorder, "#{got.inspect} where #{left[0, 60].inspect} stands")
  end

  # What is determined, as StringIO has it.
  def exactly(got, left)
    model = StringIO.new(left.dup.force_encoding("UTF-8"))
    wanted = yield model
    return model.pos if got == wanted || got.is_a?(String) && wanted.is_a?(String) && got.b == wanted.b

    raise Disorder, "#{got.inspect}, not #{wanted.inspect}"
  end

  def first_of(io, loop_method, *arguments)
    io.public_send(loop_method, *arguments) { |found| return found }
    nil
  end

  # Nil at the end, in the words of those that raise there.
  def nil_at_end
    yield
  rescue EOFError
    nil
  end

  def moved
    reader, writer = IO.pipe
    yield writer
    writer.close
    reader.read
  ensure
    [reader, writer].each(&:close)
  end

  # A read that is stopped on the way: it took nothing, or what it gives.
  def stopped(io, number, left)
    reading = spin { nil_at_end { [-> { io.gets }, -> { io.read(number) }, -> { io.readpartial(number) }][number % 3].call } }
    (number % 4).times { snooze }
    reading.stop
    got = reading.await.to_s
    left.start_with?(got.b) ? got.bytesize : raise(Disorder, got.inspect)
  end

  # The empty lines before and behind a paragraph belong to it, and it ends with one of them (a newer StringIO's has all).
  def paragraph(io, left)
    taken = exactly(io.gets(""), left) { |model| model.gets("")&.b&.sub(/\n{3,}\z/, "\n\n") }
    taken += 1 while left.getbyte(taken) == 10
    taken
  end

  def everywhere_ways
    {
      gets: ->(io, left, _) { exactly(io.gets, left, &:gets) },
      separated: ->(io, left, _) { exactly(io.gets(";"), left) { |model| model.gets(";") } },
      readline: ->(io, left, _) { exactly(nil_at_end { io.readline }, left, &:gets) },
      each_line: ->(io, left, _) { exactly(first_of(io, :each_line), left, &:gets) },
      gets_loop: ->(io, left, _) { exactly(first_of(io, :gets_loop), left, &:gets) },
      read: ->(io, left, number) { exactly(io.read(number), left) { |model| model.read(number) } },
      appended: ->(io, left, number) { exactly((+"<").tap { |buffer| io.read(number, buffer, -1) }[1..], left) { |model| model.read(number).to_s } },
      readpartial: ->(io, left, number) { piece(nil_at_end { io.readpartial(number) }, left, number) },
      into: ->(io, left, number) { piece((+"").tap { |buffer| nil_at_end { io.readpartial(number, buffer) } }, left, number) },
      read_loop: ->(io, left, number) { piece(first_of(io, :read_loop, number), left, number) },
      feed_loop: ->(io, left, _) { piece(catch(:fed) { io.feed_loop(->(data) { throw :fed, data }) && nil }, left, left.bytesize) },
      getbyte: ->(io, left, _) { exactly(io.getbyte, left, &:getbyte) },
      eof?: ->(io, left, _) { io.eof? == left.empty? ? 0 : raise(Disorder, "the end") },
      stopped: ->(io, left, number) { stopped(io, number, left) }
    }
  end

  def ways_of_an_io
    {
      chomped: ->(io, left, _) { exactly(io.gets(chomp: true), left) { |model| model.gets(chomp: true) } },
      limited: ->(io, left, number) { exactly(io.gets(number), left) { |model| model.gets(number) } },
      paragraph: ->(io, left, _) { paragraph(io, left) },
      getc: ->(io, left, _) { exactly(io.getc, left, &:getc) },
      splice: ->(io, left, number) { piece(moved { |to| IO.splice(io, to, number) }, left, number) },
      backend_read: ->(io, left, number) { piece(Polyphony.backend_read(io, +"", number, false, 0), left, number) },
      ungetc: ->(io, left, _) { io.ungetc("é"); left.prepend("é".b) && 0 },
      ungetbyte: ->(io, left, number) { io.ungetbyte(number); left.prepend(number.chr) && 0 }
    }
  end

  def ways_of_a_plain_io
    {
      each_char: ->(io, left, _) { exactly(first_of(io, :each_char), left, &:getc) },
      each_byte: ->(io, left, _) { exactly(first_of(io, :each_byte), left, &:getbyte) },
      readchar: ->(io, left, _) { exactly(nil_at_end { io.readchar }, left, &:getc) },
      sysread: ->(io, left, number) { piece(nil_at_end { io.sysread(number) }, left, number) },
      read_nonblock: ->(io, left, number) { (got = io.read_nonblock(number, exception: false)) == :wait_readable ? 0 : piece(got, left, number) },
      copy_stream: ->(io, left, number) { exactly(StringIO.new.tap { |to| IO.copy_stream(io, to, number) }.string, left) { |model| model.read(number).to_s } },
      select: ->(io, _, _) { IO.select([io]) && 0 },
      wait_readable: ->(io, _, _) { io.wait_readable && 0 }
    }
  end

  def ways_of_a_socket
    {
      recv: ->(io, left, number) { piece(io.recv(number), left, number) },
      recvfrom: ->(io, left, number) { piece([*io.recvfrom(number)].first, left, number) },
      recv_loop: ->(io, left, number) { piece(first_of(io, :recv_loop, number), left, number) },
      backend_recv: ->(io, left, number) { piece(Polyphony.backend_recv(io, +"", number, 0), left, number) }
    }
  end

  def file
    writer = closing(Tempfile.new)
    [closing(File.open(writer.path)), writer]
  end

  def pipe_object = closing(Polyphony.pipe).then { |pipe| [pipe, pipe] }

  def text
    Array.new(random.rand(1..40)) { ["a", "é", "\n", "foo", "€", "x;y", "\n\n", " "].sample(random: random) * random.rand(1..3) }.join
  end

  # Writes a text in pieces; a file has to be whole, for its end is not waited for.
  def written(text, writer)
    pieces = text.b.scan(/.{1,#{random.rand(1..12)}}/mn)
    fiber = spin { pieces.each { |part| writer << part; snooze }; writer.is_a?(Tempfile) ? writer.flush : writer.close }
    fiber.await if writer.is_a?(Tempfile)
    fiber
  end

  def read_in_disorder(reader, left, ways)
    taken = []
    40.times do
      name, way = ways.to_a.sample(random: random)
      taken << name
      left.slice!(0, way.call(reader, left, random.rand(1..9)))
    end
    expect(reader.read.to_s.b).to eq left
  rescue Disorder => e
    raise e, "#{e.message}, after #{taken.last(6).join(", ")}"
  end

  {
    "a pipe" => %i[pipe an_io a_plain_io], "a TCP connection" => %i[tcp_pair an_io a_plain_io a_socket],
    "a UNIX connection" => %i[unix_pair an_io a_plain_io a_socket], "a file" => %i[file an_io a_plain_io],
    "a Pipe" => %i[pipe_object an_io], "a TLS connection" => %i[tls_pair]
  }.each do |name, (make, *kinds)|
    it "of #{name} goes on where any other ended" do
      ways = kinds.reduce(everywhere_ways) { |all, kind| all.merge(public_send(:"ways_of_#{kind}")) }
      25.times do
        reader, writer = public_send(make)
        reader.set_encoding("UTF-8") if reader.is_a?(IO)
        whole = text
        writing = written(whole, writer)
        read_in_disorder(reader, whole.b, ways)
        writing.await
        reader.is_a?(Polyphony::Pipe) ? reader.close_read : reader.close
      end
    end
  end
end
