# frozen_string_literal: true

# An HTTP client: fetches several pages at once, and prints them in the order asked for.
#
#     ruby http_client.rb URL...
#
# Net::HTTP knows nothing of fibers. Its sockets are Ruby's own, so its waits suspend only the fiber that waits.
require "polyphony"
require "net/http"

abort "which URL?" if ARGV.empty?

fetch = lambda do |url|
  cancel_after(10) do
    response = Net::HTTP.get_response(URI(url))
    "#{response.code} #{response.body.bytesize} bytes, #{response.body.lines.first&.chomp.inspect}"
  end
rescue SystemCallError, Polyphony::Cancel => e
  e.class.name
end

pages = ARGV.map { |url| spin { fetch.(url) } }
ARGV.zip(Fiber.await(*pages)) { |url, result| puts "#{URI(url).path} -> #{result}" }
