# frozen_string_literal: true

# That others run meanwhile is shown in whole/frozen_spec.rb.
RSpec.describe "IO.copy_stream between a file and a stream" do
  everywhere "the main fiber", "a spun fiber" do
    before { Polyphony.scheduler! }

    def at_a_file_and_a_pipe(content)
      in_directory do |directory|
        path = File.join(directory, "file")
        File.binwrite(path, content)
        yield path, *pipe
      end
    end

    it "copies so many bytes from where the file stands, and leaves it behind them" do
      at_a_file_and_a_pipe("0123456789") do |path, reader, writer|
        File.open(path) do |file|
          file.pos = 2
          expect([IO.copy_stream(file, writer, 3), file.pos, IO.copy_stream(file, writer), file.pos, IO.copy_stream(file, writer)]).to eq [3, 5, 5, 10, 0]
        end
        expect(reader.readpartial(20)).to eq "23456789"
      end
    end

    it "copies from an offset on, and leaves the file where it is" do
      at_a_file_and_a_pipe("0123456789") do |path, reader, writer|
        File.open(path) { |file| expect([file.getc, IO.copy_stream(file, writer, 4, 3), file.gets]).to eq ["0", 4, "123456789"] }
        expect(reader.readpartial(20)).to eq "3456"
      end
    end

    it "takes what Ruby holds of the file, also what was put there" do
      at_a_file_and_a_pipe("line\nrest") do |path, reader, writer|
        File.open(path) { |file| file.gets; file.ungetbyte("more "); expect(IO.copy_stream(file, writer)).to eq 9 }
        expect(reader.readpartial(20)).to eq "more rest"
      end
    end

    it "puts a stream's bytes behind what the file holds in its buffer, and nothing of it is changed" do
      at_a_file_and_a_pipe("") do |path, reader, writer|
        writer << "a\r\n\xFFb"
        writer.close
        File.open(path, "w") { |file| file << "before "; expect([IO.copy_stream(reader, file), file.pos]).to eq [5, 12]; file << " after" }
        expect(File.binread(path)).to eq "before a\r\n\xFFb after".b
      end
    end

    it "that is cancelled loses no byte of the stream" do
      at_a_file_and_a_pipe("") do |path, reader, writer|
        writer << "some"
        File.open(path, "w") do |file|
          expect(move_on_after(0.01, with_value: :over) { IO.copy_stream(reader, file) }).to be :over
          expect([File.read(path), file.pos]).to eq ["some", 4]
        end
        writer << "more"
        expect(reader.readpartial(9)).to eq "more"
      end
    end

    it "that is cancelled leaves the file behind what was taken" do
      at_a_file_and_a_pipe("0123456789" * 100_000) do |path, reader, writer|
        File.open(path) do |file|
          expect(move_on_after(0.01, with_value: :over) { IO.copy_stream(file, writer) }).to be :over
          writer.close
          expect(reader.read.bytesize).to eq file.pos
        end
      end
    end

    it "refuses what the original refuses" do
      at_a_file_and_a_pipe("x") do |path, reader, writer|
        File.open(path) do |file|
          expect { IO.copy_stream(reader, file) }.to raise_error(IOError, "not opened for writing")
          expect { IO.copy_stream(file, reader) }.to raise_error(IOError, "not opened for writing")
        end
        File.open(path, "a") { |file| expect { IO.copy_stream(file, writer) }.to raise_error(IOError, "not opened for reading") }
      end
    end
  end
end
