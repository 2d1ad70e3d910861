# frozen_string_literal: true

# An actor: an account whose state only its own fiber touches; all others send it messages.
#
#     ruby actor.rb
require "polyphony"

class Account
  def initialize(balance)
    @balance = balance
    @fiber = spin(:account) { receive_loop { |message| handle(*message) } }
  end

  # Does not wait.
  def deposit(amount) = @fiber << [:deposit, amount]

  # @return whether there was enough
  def withdraw(amount) = ask(:withdraw, amount)

  def balance = ask(:balance)

  def close = @fiber.stop.await

  private

  def ask(*message)
    @fiber << [*message, Fiber.current]
    receive
  end

  def handle(name, *arguments)
    case [name, *arguments]
    in [:deposit, amount] then @balance += amount
    in [:balance, sender] then sender << @balance
    in [:withdraw, amount, sender] if amount > @balance then sender << false
    in [:withdraw, amount, sender]
      @balance -= amount
      sender << true
    end
  end
end

account = Account.new(100)
savers = 10.times.map { spin { 5.times { account.deposit(2); snooze } } }
spenders = 4.times.map { spin { account.withdraw(60) } }
Fiber.await(*savers)
puts "withdrawals that went through: #{Fiber.await(*spenders).count(true)}"
puts "balance: #{account.balance}"
account.close
