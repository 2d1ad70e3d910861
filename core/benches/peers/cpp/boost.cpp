// Boost.Fiber: one thread, its round-robin scheduler; two threads where the row is about two. What a row does stands in
// ../src/rows.rs. Stacks are of 64 KiB, as Polyphony's, and pooled.
//
//     boost ROW
#include <boost/fiber/all.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <time.h>
#include <vector>

namespace {

namespace fibers = boost::fibers;
using Time = std::chrono::steady_clock;
using Channel = fibers::buffered_channel<long>;

constexpr long yielders = 100, yields_each = 30000, spawns = 500000, rounds = 500000, far_rounds = 50000, lockers = 4,
               locks_each = 250000, sleepers = 10000, naps_each = 20;

void check(bool right)
{
    if (!right)
        std::abort();
}

// Seconds of CPU time that this process has used, in all its threads and in the kernel.
double cpu()
{
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

class Numbers {
public:
    explicit Numbers(long seed) : number(0x9e3779b97f4a7c15U ^ static_cast<std::uint64_t>(seed) * 0xd1342543de82ef95U)
    {
    }

    std::uint64_t below(std::uint64_t bound)
    {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        return number % bound;
    }

private:
    std::uint64_t number;
};

fibers::pooled_fixedsize_stack stacks(64 * 1024);

template <typename Function> fibers::fiber spawn(Function function)
{
    return fibers::fiber(std::allocator_arg, stacks, std::move(function));
}

template <typename Function> void all(long count, Function function)
{
    std::vector<fibers::fiber> started;
    for (long n = 0; n < count; n++)
        started.push_back(spawn([=] { function(n); }));
    for (auto &fiber : started)
        fiber.join();
}

long branch(long first, long leaves)
{
    if (leaves == 1)
        return first;
    long sums[10], part = leaves / 10;
    std::vector<fibers::fiber> children;
    children.reserve(10);
    for (long n = 0; n < 10; n++)
        children.push_back(spawn([=, &sums] { sums[n] = branch(first + n * part, part); }));
    long sum = 0;
    for (long n = 0; n < 10; n++) {
        children[static_cast<std::size_t>(n)].join();
        sum += sums[n];
    }
    return sum;
}

void there_and_back(Channel &there, Channel &back, long count)
{
    for (long n = 0; n < count; n++) {
        long item;
        there.push(n);
        check(back.pop(item) == fibers::channel_op_status::success && item == n);
    }
    there.close();
}

void pass_on(Channel &inbound, Channel &outbound)
{
    for (long item; inbound.pop(item) == fibers::channel_op_status::success;)
        outbound.push(item);
}

void channel()
{
    Channel there(2), back(2);
    auto other = spawn([&] { pass_on(there, back); });
    there_and_back(there, back, rounds);
    other.join();
}

void between_threads()
{
    Channel there(2), back(2);
    std::thread other([&] { pass_on(there, back); });
    there_and_back(there, back, far_rounds);
    other.join();
}

void locks()
{
    fibers::mutex mutex;
    all(lockers, [&](long) {
        for (long n = 0; n < locks_each; n++) {
            std::lock_guard<fibers::mutex> guard(mutex);
            boost::this_fiber::yield();
        }
    });
}

double lateness(long percent)
{
    const auto start = Time::now();
    std::vector<double> late(sleepers);
    all(sleepers, [&](long number) {
        const auto due = start + std::chrono::milliseconds(200) +
                         std::chrono::nanoseconds(static_cast<long>(Numbers(number).below(1000000000)));
        boost::this_fiber::sleep_until(due);
        late[static_cast<std::size_t>(number)] = std::chrono::duration<double, std::micro>(Time::now() - due).count();
    });
    std::sort(late.begin(), late.end());
    return late[static_cast<std::size_t>(sleepers * percent / 100)];
}

double measure(const std::string &row)
{
    if (row == "p50" || row == "p99")
        return lateness(std::stol(row.substr(1)));
    const double start = cpu();
    const auto per = [&](long units) { return (cpu() - start) * 1e9 / static_cast<double>(units); };
    const auto skynet = [&](long leaves) {
        check(branch(0, leaves) == leaves * (leaves - 1) / 2);
        return per(leaves);
    };
    if (row == "yield") {
        all(yielders, [](long) {
            for (long n = 0; n < yields_each; n++)
                boost::this_fiber::yield();
        });
        return per(yielders * yields_each);
    }
    if (row == "spawn") {
        for (long n = 0; n < spawns; n++) {
            long result = -1;
            spawn([&, n] { result = n; }).join();
            check(result == n);
        }
        return per(spawns);
    }
    if (row == "skynet of 100,000")
        return skynet(100000);
    if (row == "skynet of 1,000,000")
        return skynet(1000000);
    if (row == "channel")
        return channel(), per(rounds);
    if (row == "channel, across two workers")
        return between_threads(), per(far_rounds);
    if (row == "mutex")
        return locks(), per(lockers * locks_each);
    if (row == "sleep") {
        all(sleepers, [](long number) {
            Numbers numbers(number);
            for (long n = 0; n < naps_each; n++)
                boost::this_fiber::sleep_for(std::chrono::microseconds(5000 + numbers.below(10000)));
        });
        return per(sleepers * naps_each);
    }
    std::fprintf(stderr, "no such row: %s\n", row.c_str());
    std::exit(2);
}

} // namespace

int main(int, char **arguments)
{
    std::printf("%.3f\n", measure(arguments[1]));
}
