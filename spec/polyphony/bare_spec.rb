# frozen_string_literal: true

RSpec.describe "polyphony/bare" do
  SURVEY = <<~'RUBY'
    require "socket"
    require "monitor"
    require "timeout"
    require "fiber"
    CORE = ObjectSpace.each_object(Module).select { |m| m.name && !m.name.start_with?("Polyphony", "Gem") }.sort_by(&:name)
    def survey
      CORE.to_h do |m|
        own = (m.instance_methods(false) + m.private_instance_methods(false)).sort
        owners = own.to_h { |name| [name, m.instance_method(name).owner.name] }
        [m.name, [m.ancestors.map(&:name), owners, m.singleton_class.ancestors.map(&:name), m.singleton_methods(false).sort]]
      end
    end
    before = survey
    require "polyphony/bare"
    after = survey
    puts before.reject { |name, methods| after[name] == methods }.keys.inspect
  RUBY

  it "touches no class of Ruby's" do
    expect(Child.ruby!(SURVEY, loaded: "rbconfig", env: {})).to eq "[]\n"
  end
end

