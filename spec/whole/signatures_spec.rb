# frozen_string_literal: true

require "rbs"
require_relative "../support/documentation"

# sig, held against the running classes: what it says exists, takes these arguments, and nothing
# that a user may call is missing.
RSpec.describe "The signatures" do
  folder = Pathname(File.expand_path("../../sig", __dir__))
  # Ruby's own, and the ones of ours that go with them.
  loader = RBS::EnvironmentLoader.new
  %w[monitor openssl socket].each { |library| loader.add(library: library) }
  queue = RBS::Environment.from_loader(loader).class_decls[RBS::TypeName.new(name: :Queue, namespace: RBS::Namespace.parse("::Thread"))]
  files = [folder.join("polyphony.rbs"), folder.join(queue.type_params.empty? ? "_queue" : "_generic_queue", "queue.rbs")]

  # One `def` or attribute: whose it is, and what it says.
  Signature = Struct.new(:owner, :name, :kind, :private, :overloads) do
    def home = kind == :singleton ? Object.const_get(owner).singleton_class : Object.const_get(owner)

    def method = home.instance_method(name)

    def to_s = "#{owner}#{kind == :singleton ? "." : "#"}#{name}"

    # What the method does not take of what is said, or takes and is not said.
    def complaint
      return "is not there" unless home.method_defined?(name) || home.private_method_defined?(name)
      return "is #{private ? "public" : "private"}" if name != :initialize && private != home.private_method_defined?(name)
      return if overloads.nil? || method.parameters == [[:rest]] # written in Rust: anything goes in

      overloads.filter_map { |function| refusal(function) }.first || silence
    end

    private

    def taken(*kinds) = method.parameters.filter_map { |kind, name| name || kind if kinds.include?(kind) }

    def rest? = taken(:rest).any?

    def most = taken(:req, :opt).size

    def refusal(function)
      least = function.required_positionals.size + function.trailing_positionals.size
      named = function.required_keywords.keys + function.optional_keywords.keys
      return "needs #{taken(:req).size} arguments" if least < taken(:req).size
      return "takes #{most} arguments" if !rest? && (function.rest_positionals || said(function) > most)
      return if taken(:keyrest).any?

      unknown = named - taken(:key, :keyreq)
      "does not know #{unknown.join(", ")}" if unknown.any? || function.rest_keywords
    end

    def silence
      known = overloads.flat_map { |function| function.required_keywords.keys + function.optional_keywords.keys }
      missing = taken(:key, :keyreq) - known
      return "also takes #{missing.join(", ")}" if missing.any? && overloads.none?(&:rest_keywords)

      "also takes more arguments" if overloads.none?(&:rest_positionals) && overloads.map { |function| said(function) }.max < most
    end

    def said(function)
      function.required_positionals.size + function.optional_positionals.size + function.trailing_positionals.size
    end
  end

  declarations = files.flat_map do |path|
    parsed = RBS::Parser.parse_signature(path.read)
    parsed.last.is_a?(Array) ? parsed.last : parsed # since RBS 3 the buffer comes first
  end

  # Every declaration with its full name.
  flatten = lambda do |list, outer|
    list.flat_map do |declaration|
      next [] unless declaration.respond_to?(:members)

      name = [outer, declaration.name.to_s.delete_prefix("::")].compact.join("::")
      inner = declaration.members.grep(RBS::AST::Declarations::Base)
      [[name, declaration], *flatten.call(inner, name)]
    end
  end
  classes = flatten.call(declarations, nil).reject { |_, declaration| declaration.is_a?(RBS::AST::Declarations::Interface) }

  members = classes.flat_map do |owner, declaration|
    hidden = false
    declaration.members.flat_map do |member|
      case member
      when RBS::AST::Members::Private then hidden = true and []
      when RBS::AST::Members::Public then (hidden = false) || []
      when RBS::AST::Members::MethodDefinition
        forms = member.respond_to?(:overloads) ? member.overloads.map(&:method_type) : member.types
        [Signature.new(owner, member.name, member.kind, hidden, forms.map(&:type))]
      when RBS::AST::Members::Alias then [Signature.new(owner, member.new_name, member.kind, hidden)]
      when RBS::AST::Members::AttrReader then [Signature.new(owner, member.name, member.kind, hidden)]
      when RBS::AST::Members::AttrWriter then [Signature.new(owner, :"#{member.name}=", member.kind, hidden)]
      when RBS::AST::Members::AttrAccessor
        [member.name, :"#{member.name}="].map { |name| Signature.new(owner, name, member.kind, hidden) }
      else []
      end
    end
  end

  it "name methods that exist, and how they are called" do
    complaints = members.filter_map { |member| (complaint = member.complaint) && "#{member} #{complaint}" }
    expect(complaints).to eq []
  end

  # A name as it is meant in a class: the innermost that there is.
  resolve = lambda do |scope, name|
    parts = scope.split("::")
    paths = parts.size.downto(0).map { |depth| [*parts.first(depth), name].join("::") }
    Object.const_get(paths.find { |full| Object.const_defined?(full) })
  end

  it "name classes, ancestors and constants as they are" do
    wrong = classes.reject do |name, declaration|
      here = Object.const_get(name)
      mixed = declaration.members.grep(RBS::AST::Members::Mixin).all? do |mixin|
        included = resolve.call(name, mixin.name.to_s)
        (mixin.is_a?(RBS::AST::Members::Extend) ? here.singleton_class : here).include?(included)
      end
      parent = declaration.respond_to?(:super_class) && declaration.super_class
      mixed && (parent.nil? || !here.is_a?(Class) || here.superclass.name.end_with?(parent.name.to_s.delete_prefix("::")))
    end
    expect(wrong.map(&:first)).to eq []
    constants = classes.flat_map { |name, declaration| declaration.members.grep(RBS::AST::Declarations::Constant).map { |constant| "#{name}::#{constant.name}" } }
    expect(constants.reject { |name| Object.const_defined?(name) }).to eq []
  end

  it "leave no method out that a user may call" do
    said = members.to_h { |member| [[member.owner, member.kind, member.name], true] }
    extended = Polyphony::Extensions.const_get(:INSTANCES).keys + [OpenSSL::SSL::SSLSocket, OpenSSL::SSL::SSLServer]
    singletons = Polyphony::Extensions.const_get(:SINGLETONS).keys

    # Ruby's own method of that name below ours: an override.
    override = lambda do |home, name|
      method = home.method_defined?(name) && home.instance_method(name)
      method = method.super_method while method && method.owner.to_s.include?("Polyphony")
      method
    end
    left_out = Documentation.new.methods.reject do |object|
      owner = object.namespace.path
      kind = object.scope == :class ? :singleton : :instance
      next true if said[[owner, kind, object.name]] || %i[initialize method_missing].include?(object.name)
      next false unless owner.start_with?("Polyphony::Extensions::") && (mod = Object.const_get(owner)).instance_of?(Module)

      here = extended.select { |klass| klass.include?(mod) }.map { |klass| [klass.name, klass, :instance] } +
             singletons.select { |klass| klass.singleton_class.include?(mod) }.map { |klass| [klass.name, klass.singleton_class, :singleton] }
      here.any? { |name, home, where| said[[name, where, object.name]] || override.call(home, object.name) }
    end
    expect(left_out.map(&:path).join("\n")).to eq ""
  end

  it "are of one piece with those of Ruby's own library" do
    files.each { |path| loader.add(path: path) }
    environment = RBS::Environment.from_loader(loader).resolve_type_names
    builder = RBS::DefinitionBuilder.new(env: environment)
    classes.each do |name, _|
      type = RBS::TypeName.new(name: name.split("::").last.to_sym, namespace: RBS::Namespace.parse("::#{name}").parent)
      builder.build_instance(type)
      builder.build_singleton(type)
    end
  end

  it "are loaded by whoever uses the gem without what only one version of RBS takes" do
    hidden = folder.glob("**/*.rbs").reject { |path| path.relative_path_from(folder).to_s.start_with?("_") }
    expect(hidden).to eq [folder.join("polyphony.rbs")]
  end
end
