// C++ in fibers: destructors run where a scope is left, exceptions are thrown and caught within a fiber, and other
// fibers of the same thread throw and catch meanwhile.
#include "../c/check.h"

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

// Counts what is alive, and suspends where it goes.
struct Counted {
    explicit Counted(int *alive) : alive(alive) { ++*alive; }
    Counted(const Counted &) = delete;
    Counted &operator=(const Counted &) = delete;
    ~Counted()
    {
        --*alive;
        poly_yield();
    }
    int *alive;
};

class Lock {
public:
    explicit Lock(poly_mutex *mutex) : mutex(mutex) { CHECK(poly_mutex_lock(mutex) == 0); }
    Lock(const Lock &) = delete;
    Lock &operator=(const Lock &) = delete;
    ~Lock() { CHECK(poly_mutex_unlock(mutex) == 0); }

private:
    poly_mutex *mutex;
};

poly_mutex mutex;
int alive;

[[noreturn]] void fail(int64_t number)
{
    Counted guard(&alive);
    poly_yield();
    throw std::runtime_error(std::to_string(number));
}

// Each fiber throws, suspends while it unwinds and while it handles, and finds its own exception after that.
int64_t throws(void *argument)
{
    int64_t number = reinterpret_cast<intptr_t>(argument);
    for (int round = 0; round < 50; round++) {
        try {
            Lock lock(&mutex);
            fail(number);
        } catch (const std::exception &caught) {
            poly_yield();
            CHECK(caught.what() == std::to_string(number));
            CHECK(!std::uncaught_exception());
            try {
                poly_yield();
                throw;
            } catch (const std::runtime_error &again) {
                poly_yield();
                CHECK(again.what() == std::to_string(number));
            }
        }
        CHECK(std::current_exception() == nullptr);
    }
    return number;
}

int64_t throw_in_many(void *)
{
    std::vector<poly_fiber> fibers(20);
    for (size_t each = 0; each < fibers.size(); each++) {
        CHECK(poly_spawn(nullptr, throws, reinterpret_cast<void *>(each), &fibers[each]) == 0);
    }
    for (size_t each = 0; each < fibers.size(); each++) {
        int64_t result = -1;
        CHECK(poly_join(fibers[each], &result) == 0 && result == static_cast<int64_t>(each));
    }
    CHECK(alive == 0);
    return 0;
}

// A cancellation is an error number, which a program may make an exception of: destructors run on the way.
int64_t sleeps(void *)
{
    try {
        Counted guard(&alive);
        std::unique_ptr<std::string> text(new std::string(100, 'x'));
        int answer = poly_sleep(POLY_FOREVER);
        if (answer < 0)
            throw std::runtime_error(poly_strerror(answer));
        return 1;
    } catch (const std::exception &caught) {
        return caught.what() == std::string("Operation canceled") ? 0 : 2;
    }
}

int64_t cancel_one(void *)
{
    poly_fiber fiber;
    int64_t result = -1;
    CHECK(poly_spawn(nullptr, sleeps, nullptr, &fiber) == 0);
    CHECK(poly_yield() == 0 && alive == 1);
    CHECK(poly_cancel(fiber) == 0);
    CHECK(poly_join(fiber, &result) == 0 && result == 0);
    CHECK(alive == 0);
    return 0;
}

// As in the header: closes a scope wherever it is left.
struct Scope {
    poly_scope scope;
    explicit Scope(uint64_t deadline) { CHECK(poly_scope_open(&scope, deadline) == 0); }
    Scope(const Scope &) = delete;
    Scope &operator=(const Scope &) = delete;
    ~Scope() { poly_scope_close(&scope); }
};

// A child that stays until it is told to end.
int64_t stays(void *)
{
    Counted guard(&alive);
    return poly_sleep(POLY_FOREVER);
}

[[noreturn]] void leave_by_an_exception(bool guarded)
{
    poly_scope scope;
    if (guarded) {
        Scope guard(POLY_FOREVER);
        CHECK(poly_scope_spawn(&guard.scope, 0, stays, nullptr, nullptr) == 0);
        CHECK(poly_yield() == 0 && alive == 1);
        CHECK(poly_scope_cancel(&guard.scope) == 0);
        throw std::runtime_error("guarded");
    }
    CHECK(poly_scope_open(&scope, POLY_FOREVER) == 0);
    CHECK(poly_scope_spawn(&scope, 0, stays, nullptr, nullptr) == 0);
    CHECK(poly_yield() == 0 && alive == 1);
    throw std::runtime_error("left open");
}

std::string what_is_thrown(bool guarded)
{
    try {
        leave_by_an_exception(guarded);
    } catch (const std::runtime_error &caught) {
        return caught.what();
    }
}

// An exception passes a scope: a guard closes it. One that nothing closes is caught by the scope around it, which says
// so, or by the end of the fiber.
int64_t scopes_and_exceptions(void *around)
{
    poly_scope outer;
    CHECK(poly_scope_open(&outer, POLY_FOREVER) == 0);
    CHECK(what_is_thrown(true) == "guarded" && alive == 0);
    CHECK(poly_yield() == 0);
    CHECK(what_is_thrown(false) == "left open" && alive == 1);
    if (around) {
        CHECK(poly_scope_close(&outer) == -ENOTEMPTY && alive == 0);
        CHECK(poly_yield() == 0);
    }
    return 0;
}

int64_t leave_scopes(void *)
{
    static char closed;
    CHECK(scopes_and_exceptions(&closed) == 0);
    poly_fiber fiber;
    int64_t result = -1;
    CHECK(poly_spawn(nullptr, scopes_and_exceptions, nullptr, &fiber) == 0);
    CHECK(poly_join(fiber, &result) == 0 && result == 0);
    CHECK(alive == 0);
    return 0;
}

int64_t add_up(void *channel)
{
    int64_t sum = 0;
    void *item;
    while (poly_channel_recv(static_cast<poly_channel *>(channel), &item) == 0) {
        std::unique_ptr<int64_t> number(static_cast<int64_t *>(item));
        sum += *number;
    }
    return sum;
}

// Threads that the library has not made send to a fiber, start fibers and wait for them.
void other_threads()
{
    enum { THREADS = 4, ITEMS = 500 };
    poly_channel *channel;
    poly_fiber sum;
    int64_t result = -1;
    CHECK(poly_runtime_new(nullptr, &runtime) == 0);
    CHECK(poly_channel_new(3, &channel) == 0);
    CHECK(poly_spawn(runtime, add_up, channel, &sum) == 0);
    std::vector<std::thread> threads;
    for (int each = 0; each < THREADS; each++) {
        threads.emplace_back([channel, each] {
            for (int64_t item = 1; item <= ITEMS; item++) {
                std::unique_ptr<int64_t> number(new int64_t(item));
                CHECK(poly_channel_send(channel, number.get()) == 0);
                number.release();
            }
            poly_fiber fiber;
            int64_t answer = -1;
            CHECK(poly_spawn(runtime, throws, reinterpret_cast<void *>(static_cast<intptr_t>(each)), &fiber) == 0);
            CHECK(poly_join(fiber, &answer) == 0 && answer == each);
        });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    CHECK(poly_channel_close(channel) == 0);
    CHECK(poly_join(sum, &result) == 0 && result == THREADS * ITEMS * (ITEMS + 1) / 2);
    CHECK(poly_channel_free(channel) == 0);
    CHECK(poly_runtime_free(runtime) == 0);
}

} // namespace

int main()
{
    in_a_fiber(throw_in_many);
    in_a_fiber(cancel_one);
    in_a_fiber(leave_scopes);
    other_threads();
    return 0;
}
