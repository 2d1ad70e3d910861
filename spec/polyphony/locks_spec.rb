# frozen_string_literal: true

# What they do is told in extensions/mutex_spec.rb.
RSpec.describe "Polyphony's locks" do
  it "are Ruby's own, under the names of Polyphony 1" do
    names = [Polyphony::Mutex, Polyphony::ConditionVariable, Polyphony::Monitor]
    expect(names).to eq [Thread::Mutex, Thread::ConditionVariable, Monitor]
  end
end
