/* SPDX-License-Identifier: MIT */
/*
 * A file system that dies: dead-mount DIRECTORY
 *
 * Mounts one of FUSE's in a mount namespace of its own (enter /proc/PID/ns/mnt): a directory in
 * which "d" is a directory, and every other name a regular file that takes whatever is written.
 * Prints "ready". Commands on
 * standard input, one character each: "i" ignores all requests from now on, so that who asks can
 * still be killed; "s" swallows them, which is worse: who asks cannot be killed before this process
 * ends. The end of the input is the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define BUFFER_SIZE  (256 * 1024)
#define FILE_ID      2
#define DIRECTORY_ID 3

static void answer(int fd, uint64_t unique, int error, const void *data, size_t size)
{
    struct fuse_out_header header = {
        .len = (uint32_t)(sizeof(header) + size), .error = -error, .unique = unique};
    const struct iovec parts[] = {{&header, sizeof(header)}, {(void *)data, size}};

    if (writev(fd, parts, size > 0 ? 2 : 1) < 0)
        return; /* who asked has given up */
}

static struct fuse_attr attributes(uint64_t node)
{
    bool is_directory = node != FILE_ID;

    return (struct fuse_attr){.ino = node,
                              .mode = is_directory ? S_IFDIR | 0755 : S_IFREG | 0666,
                              .nlink = 1,
                              .blksize = 4096};
}

static void serve(int fd, const struct fuse_in_header *request)
{
    const struct fuse_init_in *init = (const void *)(request + 1);
    const struct fuse_write_in *write_in = (const void *)(request + 1);
    struct fuse_init_out init_out = {
        .major = FUSE_KERNEL_VERSION, .minor = init->minor, .max_write = 65536};
    uint64_t node = strcmp((const char *)(request + 1), "d") == 0 ? DIRECTORY_ID : FILE_ID;
    struct fuse_entry_out entry = {.nodeid = node, .attr = attributes(node)};
    struct fuse_attr_out attr = {.attr = attributes(request->nodeid)};
    struct fuse_open_out open_out = {.fh = 1, .open_flags = FOPEN_DIRECT_IO};
    struct fuse_write_out write_out = {.size = 0};

    switch (request->opcode) {
    case FUSE_INIT:
        answer(fd, request->unique, 0, &init_out, sizeof(init_out));
        break;
    case FUSE_LOOKUP:
        answer(fd, request->unique, 0, &entry, sizeof(entry));
        break;
    case FUSE_GETATTR:
    case FUSE_SETATTR:
        answer(fd, request->unique, 0, &attr, sizeof(attr));
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        answer(fd, request->unique, 0, &open_out, sizeof(open_out));
        break;
    case FUSE_WRITE:
        write_out.size = write_in->size;
        answer(fd, request->unique, 0, &write_out, sizeof(write_out));
        break;
    case FUSE_READ: /* there is nothing in it */
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        answer(fd, request->unique, 0, NULL, 0);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    default:
        answer(fd, request->unique, ENOSYS, NULL, 0);
    }
}

static int mount_at(const char *directory)
{
    char options[128];
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    (void)snprintf(options, sizeof(options),
                   "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
    if (fd < 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("dead", directory, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
        return -1;
    return fd;
}

int main(int argc, char *argv[])
{
    static char buffer[BUFFER_SIZE] __attribute__((aligned(8)));
    char state = 'a';

    int fd = argc == 2 ? mount_at(argv[1]) : -1;
    if (fd < 0) {
        perror("dead-mount");
        return 1;
    }
    printf("ready\n");
    (void)fflush(stdout);
    for (;;) {
        struct pollfd events[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                  {.fd = state == 'i' ? -1 : fd, .events = POLLIN}};

        if (poll(events, 2, -1) < 0)
            return 1;
        if (events[0].revents != 0 && read(STDIN_FILENO, &state, 1) <= 0)
            return 0;
        if (events[0].revents == 0 && events[1].revents != 0) {
            ssize_t n = read(fd, buffer, sizeof(buffer));
            if (n >= (ssize_t)sizeof(struct fuse_in_header) && state != 's')
                serve(fd, (const struct fuse_in_header *)buffer);
        }
    }
}
