# frozen_string_literal: true

# TLS that waits without holding the thread, for a program that wants to be sure: the drop-in and OpenSSL.
require "openssl"
require_relative "../../polyphony"

Polyphony::Extensions::Late.install
