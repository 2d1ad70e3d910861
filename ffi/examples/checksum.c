/*
 * Checksums of all files below a directory, many at a time.
 *
 *     cc checksum.c $(pkg-config --cflags --libs polyphony) -o checksum
 *     ./checksum DIRECTORY
 *
 * One fiber walks through the directories and sends the names of files to a channel; several take them from
 * there and read. Prints a line a file, in no order, and one for all of them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* DT_REG */
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <polyphony.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READERS = 16, NAMES = 64 };

struct work {
    const char *root;
    poly_channel *names;
    poly_mutex printing;
    uint64_t files, bytes, all;
};

/* FNV-1a: short, and as good as any to show how files are read. */
static uint64_t mix(uint64_t sum, const uint8_t *bytes, size_t length)
{
    while (length-- > 0)
        sum = (sum ^ *bytes++) * 0x100000001b3u;
    return sum;
}

/* Sends the names of the files below a directory; they are the receiver's to free. */
static int walk(struct work *work, const char *name)
{
    poly_directory *directory;
    poly_directory_entry entry;
    int error = poly_directory_new(AT_FDCWD, name, &directory), next;
    if (error < 0) {
        fprintf(stderr, "checksum: %s: %s\n", name, poly_strerror(error));
        return 0;
    }
    while (error == 0 && (next = poly_directory_next(directory, &entry)) != 0) {
        char *path;
        if (next < 0) {
            error = next;
            break;
        }
        path = (char *)malloc(strlen(name) + strlen(entry.name) + 2);
        if (path == NULL) {
            error = -ENOMEM;
            break;
        }
        sprintf(path, "%s/%s", name, entry.name);
        if (entry.kind == DT_REG && (error = poly_channel_send(work->names, path)) == 0)
            continue; /* it is the receiver's now */
        if (entry.kind == DT_DIR)
            error = walk(work, path);
        free(path);
    }
    poly_directory_free(directory);
    return error;
}

static int64_t walk_all(void *argument)
{
    struct work *work = (struct work *)argument;
    int error = walk(work, work->root);
    poly_channel_close(work->names);
    return error;
}

static void check(struct work *work, const char *path)
{
    uint64_t sum = 0xcbf29ce484222325u, bytes = 0;
    poly_buf buffer;
    int64_t length = poly_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    int fd = (int)length;
    if (fd >= 0) {
        while ((length = poly_read_buffer(fd, SIZE_MAX, &buffer)) > 0) {
            sum = mix(sum, buffer.data, buffer.length);
            bytes += buffer.length;
            poly_buf_release(&buffer);
        }
        poly_close(fd);
    }
    poly_mutex_lock(&work->printing);
    if (length < 0) {
        fprintf(stderr, "checksum: %s: %s\n", path, poly_strerror((int)length));
    } else {
        printf("%016llx %s\n", (unsigned long long)sum, path);
        work->files++;
        work->bytes += bytes;
        work->all ^= sum; /* the same in every order */
    }
    poly_mutex_unlock(&work->printing);
}

static int64_t check_all(void *argument)
{
    struct work *work = (struct work *)argument;
    void *path;
    while (poly_channel_recv(work->names, &path) == 0) {
        check(work, (char *)path);
        free(path);
    }
    return 0;
}

static int64_t run(void *argument)
{
    struct work *work = (struct work *)argument;
    poly_fiber walker, readers[READERS];
    int64_t walked = 0;
    int error = poly_spawn(NULL, walk_all, work, &walker), count = 0;
    if (error < 0)
        return error;
    while (count < READERS && poly_spawn(NULL, check_all, work, &readers[count]) == 0)
        count++;
    if (count == 0)
        check_all(work);
    while (count-- > 0)
        poly_join(readers[count], NULL);
    poly_join(walker, &walked);
    return walked;
}

int main(int argc, char **argv)
{
    struct work work;
    poly_runtime *runtime;
    int64_t result = 0;
    int error;

    if (argc != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    memset(&work, 0, sizeof work);
    work.root = argv[1];
    error = poly_runtime_new(NULL, &runtime);
    if (error < 0) {
        fprintf(stderr, "checksum: no runtime: %s\n", poly_strerror(error));
        return 1;
    }
    error = poly_channel_new(NAMES, &work.names);
    if (error == 0)
        error = poly_runtime_run(runtime, run, &work, &result);
    poly_runtime_free(runtime);
    poly_channel_free(work.names);
    if (error == 0)
        error = (int)result;
    if (error < 0) {
        fprintf(stderr, "checksum: %s\n", poly_strerror(error));
        return 1;
    }
    printf("%016llx %llu files, %llu bytes\n", (unsigned long long)work.all, (unsigned long long)work.files,
           (unsigned long long)work.bytes);
    return 0;
}
