// A parallel fetcher: gets several documents at once over HTTP, each in a fiber, all under one deadline.
//
//     c++ fetch.cc $(pkg-config --cflags --libs polyphony) -o fetch
//     ./fetch MILLISECONDS HOST SERVICE PATH...
//
// It prints a line a path. The first that fails ends the others, and the program says why.
//
// What is shown besides: how error numbers become exceptions, descriptors and scopes become objects, and why no
// exception leaves a fiber. A child's exception is kept by the scope, which throws it where it is closed.
#include <polyphony.h>

#include <cerrno>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

// The words of poly_strerror, for std::system_error.
class Category : public std::error_category {
public:
    const char *name() const noexcept override { return "polyphony"; }
    std::string message(int error) const override { return poly_strerror(error); }
};

// A result as it is, or an exception if it is an error number.
int64_t check(int64_t result, const std::string &what)
{
    static const Category category;
    if (result < 0)
        throw std::system_error(static_cast<int>(-result), category, what);
    return result;
}

// A descriptor that is closed where its owner goes.
class Descriptor {
public:
    explicit Descriptor(int number) : number(number) {}
    Descriptor(const Descriptor &) = delete;
    Descriptor &operator=(const Descriptor &) = delete;
    ~Descriptor() { poly_close(number); }
    int operator*() const { return number; }

private:
    int number;
};

// A deadline, and fibers that end before the block does in which it stands.
class Scope {
public:
    explicit Scope(uint64_t deadline) { check(poly_scope_open(&scope, deadline), "no scope"); }
    Scope(const Scope &) = delete;
    Scope &operator=(const Scope &) = delete;

    // Where an exception passes, the children are not needed any more.
    ~Scope()
    {
        if (!open)
            return;
        poly_scope_cancel(&scope);
        poly_scope_close(&scope);
    }

    // Runs `body` in a fiber. What it throws fails the scope.
    void spawn(std::function<void()> body)
    {
        std::unique_ptr<Child> child(new Child{*this, std::move(body)});
        check(poly_scope_spawn(&scope, 0, run, child.get(), nullptr), "no fiber");
        child.release(); // it is the fiber's now
    }

    // Waits for the children, and throws what the first of them that failed has thrown.
    void close()
    {
        open = false;
        int64_t result = poly_scope_close(&scope);
        if (failure)
            std::rethrow_exception(failure);
        check(result, "the scope");
    }

private:
    struct Child {
        Scope &scope;
        std::function<void()> body;
    };

    // The outermost frame of a fiber: exceptions end here.
    static int64_t run(void *argument)
    {
        std::unique_ptr<Child> child(static_cast<Child *>(argument));
        try {
            child->body();
            return 0;
        } catch (const std::system_error &error) {
            if (error.code().value() == ECANCELED)
                return -ECANCELED; // it was told to end: whoever told knows why, and it is no failure
            return child->scope.failed();
        } catch (...) {
            return child->scope.failed();
        }
    }

    // Keeps the exception that is being handled. Nothing suspends under this lock, so it may be one of threads.
    int64_t failed()
    {
        std::lock_guard<std::mutex> lock(mutex);
        if (!failure)
            failure = std::current_exception();
        return -EIO;
    }

    poly_scope scope;
    std::mutex mutex;
    std::exception_ptr failure;
    bool open = true;
};

struct Answer {
    std::string status;
    size_t length = 0;
};

Answer fetch(const char *host, const char *service, const std::string &path)
{
    Descriptor socket(static_cast<int>(check(poly_tcp_connect(host, service, 0), path)));
    const std::string request = "GET " + path + " HTTP/1.0\r\nHost: " + host + "\r\n\r\n";
    check(poly_send(*socket, request.data(), request.size(), MSG_WAITALL), path);
    std::string text;
    std::vector<char> buffer(16 * 1024); // not on the stack, which is small
    while (int64_t length = check(poly_recv(*socket, buffer.data(), buffer.size(), 0), path))
        text.append(buffer.data(), static_cast<size_t>(length));
    const size_t head = text.find("\r\n\r\n");
    if (head == std::string::npos)
        throw std::runtime_error(path + ": no answer of HTTP");
    Answer answer;
    answer.status = text.substr(0, text.find("\r\n"));
    answer.length = text.size() - head - 4;
    return answer;
}

struct Work {
    uint64_t patience;
    const char *host, *service;
    std::vector<std::string> paths;
    std::vector<Answer> answers;
    std::exception_ptr failure;
};

void fetch_all(Work &work)
{
    Scope scope(poly_now() + work.patience);
    work.answers.resize(work.paths.size());
    for (size_t each = 0; each < work.paths.size(); each++) {
        // Each fiber writes to a place of its own, which is read when all have ended: no lock is needed.
        scope.spawn([&work, each] { work.answers[each] = fetch(work.host, work.service, work.paths[each]); });
    }
    scope.close();
}

int64_t run(void *argument)
{
    Work &work = *static_cast<Work *>(argument);
    try {
        fetch_all(work);
    } catch (...) {
        work.failure = std::current_exception();
    }
    return 0;
}

struct Free {
    void operator()(poly_runtime *runtime) const { poly_runtime_free(runtime); }
};

} // namespace

int main(int argc, char **argv)
{
    if (argc < 5) {
        std::cerr << "usage: " << argv[0] << " MILLISECONDS HOST SERVICE PATH...\n";
        return 2;
    }
    try {
        Work work;
        work.patience = std::strtoull(argv[1], nullptr, 10) * POLY_MILLISECOND;
        work.host = argv[2];
        work.service = argv[3];
        work.paths.assign(argv + 4, argv + argc);
        poly_runtime *made;
        check(poly_runtime_new(nullptr, &made), "no runtime");
        std::unique_ptr<poly_runtime, Free> runtime(made);
        check(poly_runtime_run(made, run, &work, nullptr), "the runtime");
        if (work.failure)
            std::rethrow_exception(work.failure);
        for (size_t each = 0; each < work.paths.size(); each++)
            std::cout << work.paths[each] << ": " << work.answers[each].status << ", " << work.answers[each].length
                      << " bytes\n";
        return 0;
    } catch (const std::exception &error) {
        std::cerr << "fetch: " << error.what() << "\n";
        return 1;
    }
}
