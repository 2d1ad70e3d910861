# frozen_string_literal: true

# Counts lines, words and bytes while a stream passes: `tee` copies it inside the kernel for the counter, `splice`
# moves it on to a file.
#
#     ruby word_count.rb TARGET < TEXT      for instance: cat *.rb | ruby word_count.rb /tmp/all.rb
require "polyphony"

target = File.open(ARGV.fetch(0) { abort "copy to which file?" }, "wb")
source_reader, source_writer = IO.pipe
copy_reader, copy_writer = IO.pipe

spin do
  IO.copy_stream($stdin, source_writer)
  source_writer.close
end

counter = spin do
  lines = words = bytes = 0
  copy_reader.each_line do |line|
    lines += 1
    words += line.split.size
    bytes += line.bytesize
  end
  "#{lines} lines, #{words} words, #{bytes} bytes"
end

moved = 0
# What tee copied is still in the pipe: splice takes exactly that out.
while (copied = IO.tee(source_reader, copy_writer, 65_536)).positive?
  while copied.positive?
    size = IO.splice(source_reader, target, copied)
    copied -= size
    moved += size
  end
end
copy_writer.close
target.close
puts counter.await
puts "#{moved} bytes moved"
