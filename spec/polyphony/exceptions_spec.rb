# frozen_string_literal: true

RSpec.describe "Polyphony's exceptions" do
  moves = [Polyphony::MoveOn, Polyphony::Cancel, Polyphony::Terminate, Polyphony::Restart]

  it "are of the kinds that they were in Polyphony 1" do
    expect(moves.map(&:superclass).uniq).to eq [Polyphony::BaseException]
    expect([Polyphony::BaseException, Polyphony::TimeoutException, Polyphony::Interjection].map(&:superclass)).to eq [Exception] * 3
  end

  it "pass a plain rescue" do
    missed = [*moves, Polyphony::TimeoutException].select do |kind|
      raise kind
    rescue StandardError
      false
    rescue kind
      true
    end
    expect(missed).to eq [*moves, Polyphony::TimeoutException]
  end

  it "carry a value, and are named by themselves or by the text that it is" do
    made = [Polyphony::MoveOn.new(5), Polyphony::Cancel.new("why"), Polyphony::Restart.new]
    expect(made.map(&:value)).to eq [5, "why", nil]
    expect(made.map(&:message)).to eq ["Polyphony::MoveOn", "why", "Polyphony::Restart"]
  end
end
