/* What a snippet that is no whole program may use without saying so. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <polyphony.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int64_t fetch(void *argument); /* what a fiber does */
extern poly_runtime *runtime;
extern poly_channel *work, *results;
extern poly_mutex mutex;
extern poly_fiber fiber;
extern int fd, listener;
extern char buffer[512];
extern poly_condition condition;
extern poly_directory *directory;
extern int first, second, error;
extern uint64_t deadline;
extern void *item, *result, *numbers;
int64_t serve(void *argument);
int64_t add_up(void *argument);
void use(const uint8_t *bytes, size_t length);
extern poly_loop *loop;
typedef struct coroutine {
    char buffer[512];
    uint64_t reading;
} coroutine;
extern coroutine *self;
extern poly_loop_event event;
void resume(); /* a host's own: with a coroutine and a result, or with an event */
void wait_for_it_and_others(int fd, uint64_t deadline);
