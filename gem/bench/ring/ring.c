/*
 * The least that Ruby needs to use io_uring by hand: what bin/bench compares the pipe row with. One ring, two
 * callers called 0 and 1, no errors but aborts. Not for use.
 */
#include <linux/io_uring.h>
#include <ruby.h>
#include <ruby/thread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
    int fd;
    unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask, queued;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
} ring;

static char buffers[2][64];

static void *map(size_t size, off_t what)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, what);
    if (at == MAP_FAILED) rb_sys_fail("mmap of the ring");
    return at;
}

static VALUE ring_open(VALUE self)
{
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    ring.fd = (int)syscall(SYS_io_uring_setup, 8, &p);
    if (ring.fd < 0) rb_sys_fail("io_uring_setup");
    char *sq = map(p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    char *cq = map(p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
    ring.sqes = map(p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    ring.sq_tail = (unsigned *)(sq + p.sq_off.tail);
    ring.sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
    ring.sq_array = (unsigned *)(sq + p.sq_off.array);
    ring.cq_head = (unsigned *)(cq + p.cq_off.head);
    ring.cq_tail = (unsigned *)(cq + p.cq_off.tail);
    ring.cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    ring.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    return Qnil;
}

static void queue(int opcode, int fd, int caller, unsigned len)
{
    unsigned tail = *ring.sq_tail, index = tail & *ring.sq_mask;
    struct io_uring_sqe *sqe = &ring.sqes[index];
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = opcode;
    sqe->fd = fd;
    sqe->off = -1;
    sqe->addr = (unsigned long)buffers[caller];
    sqe->len = len;
    sqe->user_data = caller;
    ring.sq_array[index] = index;
    atomic_store_explicit((_Atomic unsigned *)ring.sq_tail, tail + 1, memory_order_release);
    ring.queued++;
}

static VALUE ring_read(VALUE self, VALUE caller, VALUE fd)
{
    queue(IORING_OP_READ, FIX2INT(fd), FIX2INT(caller), sizeof buffers[0]);
    return Qnil;
}

static VALUE ring_write(VALUE self, VALUE caller, VALUE fd, VALUE string)
{
    memcpy(buffers[FIX2INT(caller)], RSTRING_PTR(string), RSTRING_LEN(string));
    queue(IORING_OP_WRITE, FIX2INT(fd), FIX2INT(caller), RSTRING_LEN(string));
    return Qnil;
}

static void *enter(void *unused)
{
    syscall(SYS_io_uring_enter, ring.fd, ring.queued, 1, IORING_ENTER_GETEVENTS, NULL, 0);
    return NULL;
}

/* Submits what is queued and waits; answers whose operation has ended. */
static VALUE ring_wait(VALUE self)
{
    unsigned head = *ring.cq_head;
    while (head == atomic_load_explicit((_Atomic unsigned *)ring.cq_tail, memory_order_acquire)) {
        rb_thread_call_without_gvl(enter, NULL, RUBY_UBF_IO, NULL);
        ring.queued = 0;
    }
    struct io_uring_cqe *cqe = &ring.cqes[head & *ring.cq_mask];
    if (cqe->res < 0) abort();
    VALUE caller = INT2FIX(cqe->user_data);
    atomic_store_explicit((_Atomic unsigned *)ring.cq_head, head + 1, memory_order_release);
    return caller;
}

static VALUE ring_bytes(VALUE self, VALUE caller, VALUE count)
{
    return rb_str_new(buffers[FIX2INT(caller)], FIX2INT(count));
}

void Init_ring(void)
{
    VALUE module = rb_define_module("Ring");
    rb_define_module_function(module, "open", ring_open, 0);
    rb_define_module_function(module, "read", ring_read, 2);
    rb_define_module_function(module, "write", ring_write, 3);
    rb_define_module_function(module, "wait", ring_wait, 0);
    rb_define_module_function(module, "bytes", ring_bytes, 2);
}
