/* Bytes of a stream come to whoever reads, in order and each once, though every reader is cancelled at some moment. */
#ifndef BYTES_H
#define BYTES_H

#include "check.h"

#include <fcntl.h>
#include <sys/socket.h>

enum { ROUNDS = 20000 };

/* Read from the first, written to the second. */
static int ends[2];
/* How many bytes have been received: the next is this number. */
static uint64_t heard;

/* `receive` receives what is there and counts it, a fiber each time; `meanwhile`, which may be NULL, comes before each
 * cancellation. */
static inline void no_byte_is_lost_by(poly_entry receive, void (*meanwhile)(void))
{
    uint64_t sent = 0, cancelled = 0, round;
    heard = 0;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    for (round = 0; round < ROUNDS; round++) {
        unsigned char burst[8];
        poly_fiber reader;
        int64_t length;
        uint64_t each, size = random_below(sizeof burst);
        for (each = 0; each < size; each++)
            burst[each] = (unsigned char)(sent + each);
        reader = begun(receive, random_below(4));
        if (size > 0 && random_below(2) == 0) {
            GIVES(size, poly_send(ends[1], burst, size, 0));
            sent += size;
        }
        if (meanwhile != NULL)
            meanwhile();
        GIVES(0, poly_cancel(reader));
        GIVES(0, poly_join(reader, &length));
        CHECK(length > 0 || length == -ECANCELED);
        cancelled += length < 0;
    }
    while (heard < sent)
        CHECK(receive(NULL) > 0);
    CHECK(heard == sent && cancelled > 100 && cancelled < ROUNDS);
    GIVES(0, poly_close(ends[0]));
    GIVES(0, poly_close(ends[1]));
}

#endif
