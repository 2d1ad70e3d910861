/* Everything at once, for as long as one likes: soak ROUNDS SEED [SECONDS]. With seconds it plays rounds until so
 * many have gone by.
 *
 * A round makes a runtime of several workers and lets fibers do what a seed says: spawn, move, cancel each other,
 * sleep, wait with deadlines, write and read pipes and sockets, send through channels, lock, offload. Whoever ends is
 * counted; nothing may be left when a round ends. The report at the end says what was done, and what of descriptors,
 * threads, mappings and memory is there that was not after the first third of the rounds. */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>

enum { WORKERS = 3, ROOTS = 24, STEPS = 40, DEEPEST = 3, PIPES = 4 };

/* One fiber's random numbers: fibers run at the same time, and each must do the same in every run. */
struct dice {
    uint64_t seed;
    int depth;
};

typedef struct {
    uint64_t spawned, cancelled, refused, moved, bytes, items, locked, offloaded, slept;
} counts;

static counts did;
static poly_mutex shared;
static poly_semaphore few;
static poly_channel *items;
static int pipes[PIPES][2];
static uint64_t guarded;

static uint64_t roll(struct dice *dice, uint64_t below)
{
    dice->seed ^= dice->seed << 13;
    dice->seed ^= dice->seed >> 7;
    dice->seed ^= dice->seed << 17;
    return dice->seed % below;
}

static void count(uint64_t *counter, uint64_t more)
{
    __atomic_fetch_add(counter, more, __ATOMIC_RELAXED);
}

/* Whether a call has worked; if not, it was cancelled or too late, and nothing else. */
static int worked(int64_t answer)
{
    if (answer >= 0)
        return 1;
    if (answer != -ECANCELED && answer != -ETIMEDOUT) {
        fprintf(stderr, "unexpected: %s\n", poly_strerror((int)answer));
        abort();
    }
    count(&did.refused, 1);
    return 0;
}

static int64_t burn(void *argument)
{
    volatile uint64_t sum = 0;
    uint64_t each;
    for (each = 0; each < 2000; each++)
        sum = sum + each;
    return *(int64_t *)argument + (sum == 1999000 ? 1 : 0);
}

static void offload(struct dice *dice)
{
    int64_t argument = (int64_t)roll(dice, 1000), result = -1;
    if (worked(poly_offload(burn, &argument, &result))) {
        CHECK(result == argument + 1);
        count(&did.offloaded, 1);
    }
}

static void lock(struct dice *dice)
{
    uint64_t before;
    if (!worked(poly_mutex_lock(&shared)))
        return;
    before = guarded;
    if (roll(dice, 4) == 0)
        worked(poly_yield());
    CHECK(guarded == before);
    guarded = before + 1;
    CHECK(poly_mutex_unlock(&shared) == 0);
    count(&did.locked, 1);
}

/* Writes a byte and reads one: there are never fewer in a pipe than readers who have written theirs. */
static void talk(struct dice *dice)
{
    int *ends = pipes[roll(dice, PIPES)];
    char byte = 'x';
    if (!worked(poly_write(ends[1], &byte, 1)))
        return;
    CHECK(poly_shield_raise() == 0);
    CHECK(poly_read(ends[0], &byte, 1) == 1 && byte == 'x');
    CHECK(poly_shield_lower() == 0);
    count(&did.bytes, 1);
}

/* Waits for what never comes, until a deadline or a cancellation. */
static void wait_in_vain(struct dice *dice)
{
    int sockets[2];
    char byte;
    poly_scope scope;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    CHECK(poly_scope_open(&scope, poly_now() + 1000 * roll(dice, 300)) == 0);
    CHECK(!worked(poly_recv(sockets[0], &byte, 1, 0)));
    poly_scope_close(&scope);
    CHECK(poly_close(sockets[0]) == 0 && poly_close(sockets[1]) == 0);
}

static void pass_item(struct dice *dice)
{
    void *item = malloc(1 + roll(dice, 100));
    CHECK(item != NULL);
    if (!worked(poly_channel_send(items, item))) {
        free(item);
        return;
    }
    CHECK(poly_shield_raise() == 0);
    CHECK(poly_channel_recv(items, &item) == 0);
    CHECK(poly_shield_lower() == 0);
    free(item);
    count(&did.items, 1);
}

static void take_permits(struct dice *dice)
{
    uint64_t permits = 1 + roll(dice, 3);
    if (!worked(poly_semaphore_acquire(&few, permits)))
        return;
    worked(poly_yield());
    CHECK(poly_semaphore_release(&few, permits) == 0);
}

static void nap(struct dice *dice)
{
    if (worked(poly_sleep(roll(dice, 200) * 1000)))
        count(&did.slept, 1);
}

static void hop(void)
{
    int before = poly_worker();
    worked(poly_yield());
    if (poly_worker() != before)
        count(&did.moved, 1);
}

static int64_t live(void *argument);

static void have_children(struct dice *mine)
{
    poly_fiber children[4];
    struct dice theirs[4];
    size_t each, number = 1 + roll(mine, 4);
    for (each = 0; each < number; each++) {
        uint32_t flags = roll(mine, 2) ? POLY_SPAWN_MIGRATABLE : 0;
        theirs[each].seed = 1 + roll(mine, UINT64_MAX - 1);
        theirs[each].depth = mine->depth + 1;
        CHECK(poly_spawn_as(NULL, flags, live, &theirs[each], &children[each]) == 0);
        count(&did.spawned, 1);
    }
    if (roll(mine, 2)) {
        CHECK(poly_cancel(children[roll(mine, number)]) == 0);
        count(&did.cancelled, 1);
    }
    /* Their dice stand in this frame. */
    CHECK(poly_shield_raise() == 0);
    for (each = 0; each < number; each++)
        CHECK(poly_join(children[each], NULL) == 0);
    CHECK(poly_shield_lower() == 0);
}

static int64_t live(void *argument)
{
    struct dice *dice = (struct dice *)argument;
    int step;
    for (step = 0; step < STEPS >> dice->depth; step++) {
        switch (roll(dice, dice->depth < DEEPEST ? 9 : 8)) {
        case 0: hop(); break;
        case 1: nap(dice); break;
        case 2: lock(dice); break;
        case 3: talk(dice); break;
        case 4: pass_item(dice); break;
        case 5: take_permits(dice); break;
        case 6: offload(dice); break;
        case 7: wait_in_vain(dice); break;
        default: have_children(dice); break;
        }
    }
    return 0;
}

static void play(uint64_t seed)
{
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    poly_counters counters = POLY_COUNTERS_INIT;
    poly_fiber roots[ROOTS];
    struct dice dices[ROOTS], start;
    size_t each;
    start.seed = seed;
    hangs_after(120);
    options.workers = WORKERS;
    CHECK(poly_runtime_new(&options, &runtime) == 0);
    CHECK(poly_channel_new(8, &items) == 0);
    for (each = 0; each < PIPES; each++)
        CHECK(pipe2(pipes[each], O_CLOEXEC) == 0);
    for (each = 0; each < ROOTS; each++) {
        dices[each].seed = 1 + roll(&start, UINT64_MAX - 1);
        dices[each].depth = 0;
        CHECK(poly_spawn(runtime, live, &dices[each], &roots[each]) == 0);
    }
    for (each = 0; each < ROOTS; each++) {
        if (roll(&start, 4) == 0)
            CHECK(poly_cancel(roots[each]) == 0);
        CHECK(poly_join(roots[each], NULL) == 0);
    }
    CHECK(poly_stats(runtime, &counters) == 0);
    CHECK(counters.fibers == 0 && counters.in_flight == 0 && counters.timers == 0);
    CHECK(poly_channel_length(items) == 0 && poly_channel_free(items) == 0);
    for (each = 0; each < PIPES; each++)
        CHECK(close(pipes[each][0]) == 0 && close(pipes[each][1]) == 0);
    CHECK(poly_runtime_free(runtime) == 0);
}

/* What may leak. */
typedef struct {
    long descriptors, threads, mappings, kilobytes, heap;
} holdings;

static long entries(const char *directory)
{
    DIR *listing = opendir(directory);
    long number = 0;
    CHECK(listing != NULL);
    while (readdir(listing) != NULL)
        number++;
    closedir(listing);
    return number;
}

static holdings take_stock(void)
{
    holdings now = { 0, 0, 0, 0, 0 };
    char line[512];
    FILE *file;
    now.descriptors = entries("/proc/self/fd");
    now.threads = entries("/proc/self/task");
    file = fopen("/proc/self/maps", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        now.mappings++;
    fclose(file);
    file = fopen("/proc/self/status", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %ld", &now.kilobytes) == 1)
            break;
    fclose(file);
    now.heap = (long)(mallinfo2().uordblks / 1024);
    return now;
}

/* What a runtime leaves is the library's for its next one, so it grows no more once it is there. */
static void report_leaks(const holdings *first, const holdings *last)
{
    enum { SLACK = 256 }; /* fragments of heap, in KiB: what leaks does so in every round */
    long heap = last->heap - first->heap;
    printf("left over: %ld descriptors, %ld threads, %ld mappings, %ld KiB of heap; %ld KiB resident, before %ld\n",
           last->descriptors - first->descriptors, last->threads - first->threads,
           last->mappings - first->mappings, heap, last->kilobytes, first->kilobytes);
    CHECK(last->descriptors <= first->descriptors);
    CHECK(heap < SLACK);
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 6;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t end = argc > 3 ? poly_now() + strtoull(argv[3], NULL, 10) * 1000 * MILLI : 0;
    uint64_t round;
    holdings first, last;
    CHECK(poly_semaphore_release(&few, 4) == 0);
    first = take_stock();
    for (round = 0; round < rounds || poly_now() < end; round++) {
        play((seed + round) * 0x9e3779b97f4a7c15u | 1);
        /* The first rounds make what stays: slabs, the threads of the pool, arenas. */
        if (round == rounds / 3)
            first = take_stock();
    }
    last = take_stock();
    printf("seed %llu, %llu rounds: %llu fibers, %llu cancelled, %llu calls refused, %llu moves\n",
           (unsigned long long)seed, (unsigned long long)round, (unsigned long long)did.spawned,
           (unsigned long long)did.cancelled, (unsigned long long)did.refused, (unsigned long long)did.moved);
    printf("%llu bytes, %llu items, %llu locked, %llu offloaded, %llu slept\n", (unsigned long long)did.bytes,
           (unsigned long long)did.items, (unsigned long long)did.locked, (unsigned long long)did.offloaded,
           (unsigned long long)did.slept);
    report_leaks(&first, &last);
    CHECK(guarded == did.locked);
    return 0;
}
