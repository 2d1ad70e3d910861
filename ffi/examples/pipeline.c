/*
 * A pipeline: one fiber counts, one squares, one adds up. They hand each other numbers through channels,
 * and whoever has nothing to do waits without holding the thread.
 *
 *     cc pipeline.c $(pkg-config --cflags --libs polyphony) -o pipeline && ./pipeline
 */
#include <polyphony.h>
#include <stdio.h>

enum { NUMBERS = 100000, ROOM = 16 };

struct stage {
    poly_channel *in;
    poly_channel *out;
};

static int64_t count(void *argument)
{
    struct stage *stage = (struct stage *)argument;
    uintptr_t number;
    for (number = 1; number <= NUMBERS; number++) {
        int error = poly_channel_send(stage->out, (void *)number);
        if (error < 0)
            return error;
    }
    return poly_channel_close(stage->out);
}

static int64_t square(void *argument)
{
    struct stage *stage = (struct stage *)argument;
    void *number;
    while (poly_channel_recv(stage->in, &number) == 0) {
        int error = poly_channel_send(stage->out, (void *)((uintptr_t)number * (uintptr_t)number));
        if (error < 0)
            return error;
    }
    return poly_channel_close(stage->out);
}

static int64_t run(void *argument)
{
    struct stage first = { NULL, NULL }, second = { NULL, NULL };
    poly_fiber counter, squarer;
    int64_t *sum = (int64_t *)argument;
    void *number;
    int error = poly_channel_new(ROOM, &first.out);
    if (error == 0)
        error = poly_channel_new(ROOM, &second.out);
    second.in = first.out;
    if (error == 0)
        error = poly_spawn(NULL, count, &first, &counter);
    if (error == 0)
        error = poly_spawn(NULL, square, &second, &squarer);
    if (error < 0)
        return error;
    while (poly_channel_recv(second.out, &number) == 0)
        *sum += (int64_t)(uintptr_t)number;
    /* Both have closed their channels; once they have ended, on whichever worker, nobody uses those any more. */
    poly_join(counter, NULL);
    poly_join(squarer, NULL);
    poly_channel_free(first.out);
    poly_channel_free(second.out);
    return 0;
}

int main(void)
{
    poly_runtime *runtime;
    int64_t sum = 0, result = 0;
    int error = poly_runtime_new(NULL, &runtime);
    if (error == 0) {
        error = poly_runtime_run(runtime, run, &sum, &result);
        poly_runtime_free(runtime);
    }
    if (error < 0 || result < 0) {
        fprintf(stderr, "pipeline: %s\n", poly_strerror(error < 0 ? error : (int)result));
        return 1;
    }
    printf("the sum of the squares up to %d is %lld\n", NUMBERS, (long long)sum);
    return 0;
}
