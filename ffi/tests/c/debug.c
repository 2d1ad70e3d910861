/* What the debug mode says of wrong objects. Each call is refused; the test that runs this reads standard error. */
#include "check.h"

static poly_channel *freed_in_a_fiber;

/* What the next complaint must say, in the order in which they come. */
static void expect(const char *function, const void *address, const char *what)
{
    if (address == NULL)
        printf("polyphony: %s: NULL %s\n", function, what);
    else
        printf("polyphony: %s: %#llx %s\n", function, (unsigned long long)(uintptr_t)address, what);
}

static int64_t free_it(void *argument)
{
    poly_fiber self;
    char what[64];
    UNUSED(argument);
    GIVES(0, poly_self(&self));
    GIVES(0, poly_channel_free(freed_in_a_fiber));
    snprintf(what, sizeof what, "was freed by fiber %#llx", (unsigned long long)self.id);
    expect("poly_channel_free", freed_in_a_fiber, what);
    GIVES(-EINVAL, poly_channel_free(freed_in_a_fiber));
    expect("poly_channel_send", freed_in_a_fiber, what);
    GIVES(-EINVAL, poly_channel_send(freed_in_a_fiber, NULL));
    return 0;
}

static int64_t wrong_kinds(void *argument)
{
    poly_mutex mutex = POLY_MUTEX_INIT, copy;
    poly_semaphore semaphore = POLY_SEMAPHORE_INIT;
    poly_channel *channel;
    UNUSED(argument);
    GIVES(0, poly_channel_new(1, &channel));
    expect("poly_runtime_workers", channel, "is a poly_channel");
    GIVES(-EINVAL, poly_runtime_workers((poly_runtime *)channel));
    expect("poly_channel_close", runtime, "is a poly_runtime");
    GIVES(-EINVAL, poly_channel_close((poly_channel *)runtime));
    expect("poly_runtime_describe", channel, "is a poly_channel");
    QUIETLY(poly_runtime_describe((poly_runtime *)channel) == NULL);
    expect("poly_channel_length", NULL, "is no poly_channel");
    GIVES(-EINVAL, poly_channel_length(NULL));
    expect("poly_channel_try_send", &semaphore, "is no poly_channel");
    GIVES(-EINVAL, poly_channel_try_send((poly_channel *)&semaphore, NULL));
    GIVES(0, poly_channel_free(channel));

    GIVES(0, poly_mutex_lock(&mutex));
    expect("poly_semaphore_acquire", &mutex, "is a poly_mutex");
    GIVES(-EINVAL, poly_semaphore_acquire((poly_semaphore *)&mutex, 1));
    GIVES(0, poly_semaphore_release(&semaphore, 2));
    expect("poly_event_set", &semaphore, "is a poly_semaphore");
    GIVES(-EINVAL, poly_event_set((poly_event *)&semaphore));
    expect("poly_condition_wait", &semaphore, "is a poly_semaphore");
    GIVES(-EINVAL, poly_condition_wait((poly_condition *)&semaphore, &mutex));
    copy = mutex;
    expect("poly_mutex_unlock", &copy, "is no poly_mutex: it was not all zeros when it was first used");
    GIVES(-EINVAL, poly_mutex_unlock(&copy));
    GIVES(0, poly_mutex_unlock(&mutex));
    return 0;
}

int main(int count, char **arguments)
{
    poly_runtime *gone;
    char what[64];
    GIVES(0, poly_channel_new(1, &freed_in_a_fiber));
    if (count > 1 && strcmp(arguments[1], "abort") == 0) {
        poly_channel_close((poly_channel *)&gone);
        return 0;
    }
    in_a_fiber(free_it);
    in_a_fiber(wrong_kinds);
    gone = runtime; /* in_a_fiber has freed it, and this thread did */
    snprintf(what, sizeof what, "was freed by thread %d", (int)getpid());
    expect("poly_runtime_free", gone, what);
    GIVES(-EINVAL, poly_runtime_free(gone));
    expect("poly_runtime_run", gone, what);
    GIVES(-EINVAL, poly_runtime_run(gone, free_it, NULL, NULL));
    return 0;
}
