# frozen_string_literal: true

require "stringio"
require "yard"
require "polyphony/core/debug"
require "polyphony/extensions/openssl"
require "polyphony/adapters/readline"
require "polyphony/extensions/prompts"
require "io/console"
require "polyphony/extensions/console"

# What YARD reads in the sources, beside what a Ruby with the gem loaded has.
class Documentation
  # @return [Array<String>] what YARD itself complained of
  attr_reader :warnings

  def initialize(files = Dir[File.expand_path("../../gem/lib/**/*.rb", __dir__)].sort)
    said = StringIO.new
    YARD::Logger.instance.io = said
    YARD.parse(files)
    @warnings = said.string.scan(/^\[warn\]: @.*\n.*/) # of tags; what it makes of mixins is its own affair
  end

  # The methods that users may call, as YARD knows them.
  def methods
    YARD::Registry.all(:method).select { |method| method.visibility == :public && !inside?(method) }
  end

  # What stands in the sources and is not described.
  def silent
    YARD::Registry.all(:module, :class, :method, :constant).filter_map do |object|
      next if object.visibility != :public || !object.docstring.blank?(false) || inside?(object)

      "#{object.path} is not described (#{object.file}:#{object.line})"
    end
  end

  # What exists and is not in the sources.
  def unknown
    modules(Polyphony).flat_map do |owner|
      names = owner.public_instance_methods(false).map { |name| "#{owner}##{name}" } +
              owner.singleton_class.public_instance_methods(false).map { |name| "#{owner}.#{name}" }
      names.reject { |name| YARD::Registry.at(name) || private?(YARD::Registry.at(owner.to_s)) }
    end.map { |name| "#{name} exists and is not described" }
  end

  private

  # Whether it belongs to something that is no business of a user's.
  def inside?(object)
    object = object.namespace until object.root? || private?(object)
    !object.root?
  end

  def private?(object) = object&.tag(:api)&.text == "private"

  # The modules below one that are called by its name, and itself.
  def modules(root, found = [])
    return found if found.include?(root)

    found << root
    root.constants(false).each do |name|
      inner = root.const_get(name)
      modules(inner, found) if inner.is_a?(Module) && inner.name == "#{root}::#{name}"
    end
    found
  end
end
