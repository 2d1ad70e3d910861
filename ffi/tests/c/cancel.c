/* Cancellation and deadlines, and that they lose nothing. */
#include "bytes.h"

enum { PATTERN = 0x5a };

static int64_t deadlines(void *argument)
{
    poly_scope outer, inner;
    char byte;
    UNUSED(argument);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    GIVES(0, poly_scope_open(&outer, poly_now() + (uint64_t)3600 * 1000 * MILLI));
    GIVES(0, poly_scope_open(&inner, poly_now() + MILLI));
    GIVES(-ETIMEDOUT, poly_read(ends[0], &byte, 1));
    GIVES(-ETIMEDOUT, poly_yield());
    GIVES(-ETIMEDOUT, poly_check());
    GIVES(-ETIMEDOUT, poly_scope_close(&inner));
    GIVES(1, poly_write(ends[1], "x", 1));
    GIVES(1, poly_read(ends[0], &byte, 1));
    GIVES(0, poly_scope_close(&outer));
    GIVES(-EINVAL, poly_scope_close(&outer));
    /* The outer deadline is the nearer one: it fires, and the inner scope has nothing to say. */
    GIVES(0, poly_scope_open(&outer, poly_now() + MILLI));
    GIVES(0, poly_scope_open(&inner, POLY_FOREVER));
    GIVES(-ETIMEDOUT, poly_sleep((uint64_t)3600 * 1000 * MILLI));
    GIVES(0, poly_scope_close(&inner));
    GIVES(-ETIMEDOUT, poly_scope_close(&outer));
    GIVES(-EINVAL, poly_scope_open(NULL, 1));
    GIVES(0, poly_close(ends[0]));
    GIVES(0, poly_close(ends[1]));
    return 0;
}

static int64_t shields(void *argument)
{
    poly_fiber self;
    UNUSED(argument);
    GIVES(-EINVAL, poly_shield_lower());
    GIVES(0, poly_self(&self));
    GIVES(0, poly_shield_raise());
    GIVES(0, poly_cancel(self));
    GIVES(0, poly_yield());
    GIVES(0, poly_sleep(MILLI));
    GIVES(0, poly_shield_lower());
    GIVES(-ECANCELED, poly_yield());
    GIVES(0, poly_yield());
    GIVES(0, poly_cancel(self));
    GIVES(-ECANCELED, poly_check());
    GIVES(0, poly_check());
    return 0;
}

/* Receives once; the bytes must be the next ones, and the buffer is nobody's after the call. */
static int64_t receive_once(void *argument)
{
    unsigned char bytes[64], after[64];
    int64_t length, each;
    UNUSED(argument);
    memset(bytes, PATTERN, sizeof bytes);
    length = poly_recv(ends[0], bytes, sizeof bytes, 0);
    memcpy(after, bytes, sizeof bytes);
    for (each = 0; each < length; each++)
        CHECK(bytes[each] == (unsigned char)(heard + (uint64_t)each));
    for (each = length < 0 ? 0 : length; each < (int64_t)sizeof bytes; each++)
        CHECK(bytes[each] == PATTERN);
    heard += length < 0 ? 0 : (uint64_t)length;
    poly_yield();
    poly_yield();
    CHECK(memcmp(bytes, after, sizeof bytes) == 0);
    return length;
}

/* A wait in between runs out of time now and then. */
static void be_late(void)
{
    poly_scope scope;
    if (random_below(8) == 0) {
        GIVES(0, poly_scope_open(&scope, poly_now() + random_below(20000)));
        poly_yield();
        poly_scope_close(&scope);
    }
}

static int64_t no_byte_is_lost(void *argument)
{
    UNUSED(argument);
    no_byte_is_lost_by(receive_once, be_late);
    return 0;
}

int main(void)
{
    poly_scope scope;
    GIVES(-EPERM, poly_scope_open(&scope, 1));
    GIVES(-EPERM, poly_scope_close(&scope));
    GIVES(-EPERM, poly_shield_raise());
    GIVES(-EPERM, poly_shield_lower());
    in_a_fiber(deadlines);
    in_a_fiber(shields);
    in_a_fiber(no_byte_is_lost);
    return 0;
}
