# frozen_string_literal: true

# The names of Polyphony 1.6 for input and output: each answers.
RSpec.describe "The surface for input and output" do
  NAMES = {
    "IO" => %i[
      read readpartial gets each_line getc getbyte ungetc ungetbyte write << puts read_nonblock write_nonblock read_loop
      feed_loop gets_loop wait_readable wait_writable splice_from tee_from close __read_method__ __write_method__
      readline readlines each_char each_byte sysread eof? orig_read orig_read_nonblock orig_readpartial orig_write orig_gets
      orig_getc orig_getbyte orig_ungetc orig_close
    ],
    "Polyphony::Pipe" => %i[
      fds closed? close read readpartial read_loop feed_loop gets_loop gets each_line getc getbyte ungetc ungetbyte
      write << puts wait_readable wait_writable splice_from tee_from __read_method__ __write_method__
      each_char each_byte readchar readbyte sysread
    ],
    "Socket" => %i[
      accept accept_loop connect read recv recv_loop read_loop readpartial feed_loop recvfrom send write << recvmsg
      sendmsg dont_linger no_delay reuse_addr reuse_port __read_method__
    ],
    "TCPSocket" => %i[
      read recv recv_loop read_loop readpartial feed_loop gets gets_loop send write << closed? close setsockopt
      io dont_linger no_delay reuse_addr reuse_port peeraddr getsockopt eof? fileno shutdown
    ],
    "TCPServer" => %i[accept accept_loop close addr fileno getsockopt],
    "UNIXSocket" => %i[read recv recv_loop read_loop feed_loop readpartial send write << recvfrom recv_io],
    "UNIXServer" => %i[accept accept_loop close],
    "UDPSocket" => %i[recvfrom recvmsg send sendmsg recv recv_loop],
    "OpenSSL::SSL::SSLSocket" => %i[
      accept connect read readpartial read_loop recv_loop gets_loop feed_loop sysread syswrite peeraddr flush
      dont_linger no_delay reuse_addr __read_method__ __write_method__ orig_accept orig_close orig_sysread orig_syswrite
      orig_read orig_peeraddr
    ],
    "OpenSSL::SSL::SSLServer" => %i[ctx accept accept_loop close orig_accept orig_close],
    "Polyphony::Scheduler" => %i[
      accept accept_loop connect read read_loop recv recv_loop recvmsg feed_loop recv_feed_loop send sendmsg sendv
      write close splice double_splice tee wait_io chain splice_chunks kind finalize post_fork
    ]
  }.freeze

  FUNCTIONS = {
    "IO" => %i[
      binread binwrite read write readlines foreach popen copy_stream orig_binread orig_read orig_write orig_readlines
      orig_foreach orig_popen orig_copy_stream splice double_splice tee gzip gunzip deflate
      inflate http1_splice_chunked
    ],
    "Socket" => %i[getaddrinfo], "Addrinfo" => %i[tcp udp getaddrinfo],
    "Polyphony" => %i[
      pipe __with_raw_buffer__ __raw_buffer_set__ __raw_buffer_get__ __raw_buffer_size__ backend_accept
      backend_accept_loop backend_connect backend_read backend_read_loop backend_recv backend_recv_loop backend_recvmsg
      backend_feed_loop backend_recv_feed_loop backend_send backend_sendmsg backend_sendv backend_write backend_close
      backend_splice backend_double_splice backend_tee backend_wait_io backend_verify_blocking_mode
    ],
    "Polyphony::Net" => %i[tcp_connect tcp_listen setup_alpn]
  }.freeze

  before { require "openssl"; Polyphony::Extensions::Late.install }

  NAMES.each do |owner, names|
    it "has every method of #{owner}" do
      missing = names.reject { |name| Object.const_get(owner).method_defined?(name) }
      expect(missing).to be_empty
    end
  end

  FUNCTIONS.each do |owner, names|
    it "has every function of #{owner}" do
      expect(names.reject { |name| Object.const_get(owner).respond_to?(name) }).to be_empty
    end
  end
end
