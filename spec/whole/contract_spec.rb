# frozen_string_literal: true

# Every name that a program written for Polyphony 1 may use, other than those of I/O: does somebody answer?
# What they do is told where their files are; this is the inventory.
RSpec.describe "The names of Polyphony 1" do
  public_names = {
    "Fiber" => [
      -> { Fiber.instance_method(:spin) && Fiber },
      %i[tag tag= thread thread= parent parent= oob oob= result running? main? inspect to_s location caller set_caller state
         dead? schedule schedule_with_priority safe_transfer raise interrupt stop kill move_on cancel terminate restart reset
         interject await join value prepare run restart_self finalize finalize_children inform_monitors << send receive receive_loop receive_all_pending mailbox monitor_mailbox children spin
         supervise terminate_all_children await_all_children shutdown_all_children attach_all_children_to detach attach_to
         attach_and_monitor add_child remove_child monitor unmonitor monitors setup_raw setup_main_fiber graceful_shutdown=
         graceful_shutdown? auto_watcher __park__ __unpark__ __parked__?]
    ],
    "Thread" => [
      -> { Thread },
      %i[backend backend= main_fiber result setup setup_fiber_scheduling schedule_and_wakeup switch_fiber fiber_unschedule done?
         kill_safe await_done mark_as_done debug! join await value raise kill << send idle_gc_period= on_idle inspect orig_join orig_raise orig_kill
         orig_inspect]
    ],
    "Exception" => [-> { Exception }, %i[source_fiber source_fiber= raising_fiber raising_fiber= invoke backtrace]],
    "Process::Status" => [
      -> { Process::Status }, %i[pid exited? exitstatus success? signaled? termsig stopped? stopsig coredump? inspect]
    ],
    "Polyphony::BaseException" => [-> { Polyphony::BaseException }, %i[value]],
    "Polyphony::Interjection" => [-> { Polyphony::Interjection }, %i[invoke]],
    "Polyphony::Event" => [-> { Polyphony::Event }, %i[await signal]],
    "Polyphony::Mutex" => [-> { Polyphony::Mutex }, %i[synchronize lock unlock try_lock owned? locked? sleep conditional_release
                                                              conditional_reacquire]],
    "Polyphony::Monitor" => [
      -> { Polyphony::Monitor },
      %i[enter mon_enter exit mon_exit try_enter try_mon_enter synchronize mon_synchronize mon_locked? mon_owned? mon_check_owner
         new_cond wait_for_cond lock unlock try_lock owned? locked? conditional_release conditional_reacquire]
    ],
    "Polyphony::ConditionVariable" => [-> { Polyphony::ConditionVariable }, %i[wait signal broadcast]],
    "Polyphony::Queue" => [
      -> { Polyphony::Queue },
      %i[push << enq shift pop deq clear size length empty? shift_all shift_each unshift delete
         cap capped? flush_waiters pending? num_waiting close closed?]
    ],
    "Polyphony::ResourcePool" => [-> { Polyphony::ResourcePool }, %i[acquire discard! fill! available size limit method_missing]],
    "Polyphony::Throttler" => [-> { Polyphony::Throttler }, %i[call process]],
    "Polyphony::ThreadPool" => [-> { Polyphony::ThreadPool }, %i[process cast busy? stop size]],
    "Polyphony::Timer" => [-> { Polyphony::Timer }, %i[sleep after every cancel_after move_on_after reset stop]],
    "Polyphony::Channel" => [-> { Polyphony::Channel }, %i[receive close << push]],
    "Polyphony::Backend" => [
      -> { Polyphony::Backend },
      %i[finalize post_fork kind poll break stats trace trace_proc= idle_gc_period= idle_proc= sleep timeout timer_loop wait_event waitpid]
    ]
  }

  singleton_names = {
    "Fiber" => [-> { Fiber }, %i[await join select schedule_priority_oob_fiber]],
    "Thread" => [-> { Thread }, %i[backend]],
    "Exception" => [
      -> { Exception }, %i[instantiate __disable_sanitized_backtrace__ __disable_sanitized_backtrace__=]
    ],
    "Kernel" => [-> { Kernel }, %i[snooze suspend trap orig_trap system orig_system sleep]],
    "Process" => [-> { Process }, %i[trap detach daemon wait waitpid wait2]],
    "Process::Status" => [-> { Process::Status }, %i[from_status_array]],
    "Timeout" => [-> { Timeout }, %i[timeout]],
    "Polyphony" => [
      -> { Polyphony },
      %i[fork watch_process backend_sleep backend_timeout backend_timer_loop backend_wait_event backend_waitpid shield]
    ],
    "Polyphony::Process" => [-> { Polyphony::Process }, %i[watch kill_process]],
    "Polyphony::ThreadPool" => [-> { Polyphony::ThreadPool }, %i[process reset]],
    "Polyphony::Backend" => [-> { Polyphony::Backend }, %i[new]]
  }

  verbs = %i[spin spin_loop spin_scope supervise after every cancel_after move_on_after sleep throttled_loop receive receive_loop
             receive_all_pending snooze suspend gets p system ` trap orig_sleep orig_backtick orig_gets orig_p orig_system orig_trap]

  public_names.each do |name, (owner, names)|
    it "are answered by every #{name}" do
      expect(names.reject { |method| owner.call.public_method_defined?(method) }).to be_empty
    end
  end

  singleton_names.each do |name, (owner, names)|
    it "are answered by #{name} itself" do
      expect(names.reject { |method| owner.call.respond_to?(method) }).to be_empty
    end
  end

  it "are said by every object" do
    expect(verbs.reject { |verb| Object.new.respond_to?(verb, true) }).to be_empty
    expect(verbs.select { |verb| Object.new.respond_to?(verb) }).to be_empty
  end

  it "lead to the files where they were, each alone" do
    files = %w[channel resource_pool thread_pool throttler timer debug exceptions sync]
    files.each { |file| expect(Child.ruby!("require 'polyphony/core/#{file}'; print :ok", loaded: nil, before: [], env: { "RUBYLIB" => Child::LIBRARY })).to eq "ok" }
  end
end
