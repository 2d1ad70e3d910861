# frozen_string_literal: true

# Crawls a site from one page on: several fetchers, at most so many requests a second, each page once.
#
#     ruby crawler.rb URL [REQUESTS A SECOND]
require "polyphony"
require "net/http"

class Crawler
  FETCHERS = 3

  def initialize(rate)
    @throttler = Polyphony::Throttler.new(rate)
    @pages = {}
    @open = Queue.new
    @unfinished = 0
  end

  # The status of each page, by its path.
  def crawl(start)
    add(start)
    Fiber.await(*Array.new(FETCHERS) { spin { work } })
    @pages
  end

  private

  def add(url)
    return if @pages.key?(url.path)

    @pages[url.path] = nil
    @unfinished += 1
    @open << url
  end

  def work
    while (url = @open.shift)
      visit(url)
      @unfinished -= 1
      @open.close if @unfinished.zero?
    end
  end

  def visit(url)
    response = @throttler.call { Net::HTTP.get_response(url) }
    @pages[url.path] = response.code
    links = response.body.scan(/href="([^"#]+)/).map { |(link)| URI.join(url, link) }
    links.each { |link| add(link) if link.host == url.host && link.port == url.port }
  rescue SystemCallError, URI::Error => e
    @pages[url.path] = e.class.name
  end
end

url = URI(ARGV.fetch(0) { abort "which URL?" })
pages = Crawler.new(Float(ARGV.fetch(1, 10))).crawl(url)
pages.sort.each { |path, status| puts "#{status} #{path}" }
