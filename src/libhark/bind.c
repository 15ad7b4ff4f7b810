/* SPDX-License-Identifier: MIT */
#include "libhark/bind.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"

#define CHILD_STACK_SIZE ((size_t)32 * 1024)

#define KERNEL_SIGSET_SIZE 8

/* In memory that is shared either way, with the stack that the child runs on. */
struct child {
    alignas(64) char stack[CHILD_STACK_SIZE];
    const struct bind_request *request;
    bool in_directory;
    long call, arguments[4]; /* what makes the name: system call and arguments */
    long result;
    struct sockaddr_un address;
    struct __user_cap_data_struct capabilities[2];
    bool have_capabilities;
    bool done;
    int error;
};

/* May run on the parent's memory, whose shadow bytes were made for other frames than these. */
#define CHILD_CODE                                                                                 \
    __attribute__((noinline, no_sanitize("address"), no_sanitize("undefined"),                     \
                   no_sanitize("thread")))

CHILD_CODE static void child_call(struct child *child, long number, long a, long b, long c)
{
    if (syscall(number, a, b, c) < 0)
        child->error = errno;
}

CHILD_CODE static void child_make_name(struct child *child)
{
    const long *with = child->arguments;

    child->result = syscall(child->call, with[0], with[1], with[2], with[3]);
    if (child->result < 0)
        child->error = errno;
}

/* A file system id has no other way to tell failure than asking again: setfsuid(2). */
CHILD_CODE static void child_set_id(struct child *child, long number, long id)
{
    (void)syscall(number, id);
    if (syscall(number, -1L) != id)
        child->error = EPERM;
}

CHILD_CODE static void child_become_owner(struct child *child)
{
    const struct bind_request *request = child->request;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

    if (request->group != (gid_t)-1)
        child_set_id(child, SYS_setfsgid, (long)request->group);
    if (request->owner == (uid_t)-1 || child->error != 0)
        return;
    child_set_id(child, SYS_setfsuid, (long)request->owner);
    /* Leaving uid 0 has taken the right to write into a directory that is not the owner's
     * (capabilities(7), "Effect of user ID changes"). */
    if (child->have_capabilities && child->error == 0)
        child_call(child, SYS_capset, (long)&header, (long)child->capabilities, 0);
}

CHILD_CODE static int child_main(void *argument)
{
    struct child *child = argument;
    const struct bind_request *request = child->request;

    child_call(child, SYS_umask, (long)(~request->mode & 0777), 0, 0);
    if (child->in_directory)
        child_call(child, SYS_fchdir, request->directory_fd, 0, 0);
    child_become_owner(child);
    if (child->error == 0)
        child_make_name(child);
    child->done = true;
    syscall(SYS_exit, 0L);
    __builtin_unreachable();
}

/* The kernel's set is 64 bits: all signals, also those that libc hides from sigfillset(). */
static void block_signals(uint64_t *ret_before)
{
    uint64_t all = UINT64_MAX;

    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, ret_before, KERNEL_SIGSET_SIZE);
}

static void restore_signals(const uint64_t *before)
{
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, before, NULL, KERNEL_SIGSET_SIZE);
}

static bool changes_owner(const struct bind_request *request)
{
    return request->owner != (uid_t)-1 || request->group != (gid_t)-1;
}

/* A process costs some hundred microseconds, for each name. */
static int make_name_here(struct child *child)
{
    uint64_t signals;

    block_signals(&signals);
    mode_t mask = umask(~child->request->mode & 0777);
    child_make_name(child);
    (void)umask(mask);
    restore_signals(&signals);
    return -child->error;
}

static int child_run(struct child *child)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    uint64_t signals;
    siginfo_t info;
    int flags = CLONE_VFORK | CLONE_FILES;

    /* New ids make memory undumpable (commit_creds() in the kernel), so it must not be the process'
     * own. */
    if (!changes_owner(child->request))
        flags |= CLONE_VM;
    child->have_capabilities = syscall(SYS_capget, &header, child->capabilities) == 0;
    block_signals(&signals);
    pid_t pid = clone(child_main, child->stack + sizeof(child->stack), flags, child);
    int error = errno;
    /* A host that waits with __WALL may be faster: the result lies in memory. */
    if (pid >= 0)
        (void)waitid(P_PID, (id_t)pid, &info, WEXITED | __WALL);
    restore_signals(&signals);
    if (pid < 0)
        return -error;
    return child->done ? -child->error : -ECHILD;
}

/* NULL: out of memory. */
static struct child *child_new(const struct bind_request *request)
{
    struct child *child =
        mmap(NULL, sizeof(*child), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (child == MAP_FAILED)
        return NULL;
    child->request = request;
    return child;
}

static void child_done(struct child **child)
{
    if (*child)
        (void)munmap(*child, sizeof(**child));
}

static int child_make(struct child *child, long call, long a, long b, long c, long d)
{
    child->call = call;
    child->arguments[0] = a;
    child->arguments[1] = b;
    child->arguments[2] = c;
    child->arguments[3] = d;
    if (child->request->one_thread && !child->in_directory && !changes_owner(child->request))
        return make_name_here(child);
    return child_run(child);
}

int bind_unix(int fd, const struct bind_request *request)
{
    cleanup(child_done) struct child *child = NULL;
    bool whole = strlen(request->path) < sizeof(child->address.sun_path);
    const char *bound = whole ? request->path : request->name;
    size_t length = strlen(bound);

    if (length >= sizeof(child->address.sun_path))
        return -ENAMETOOLONG;
    child = child_new(request);
    if (!child)
        return -ENOMEM;
    child->in_directory = !whole;
    child->address.sun_family = AF_UNIX;
    memcpy(child->address.sun_path, bound, length);
    return child_make(child, SYS_bind, fd, (long)&child->address,
                      (long)(offsetof(struct sockaddr_un, sun_path) + length + 1), 0);
}

/* The mode is asked for although the umask says it, too: default access control lists take the
 * umask's place. */
int bind_directory(const struct bind_request *request)
{
    cleanup(child_done) struct child *child = child_new(request);

    if (!child)
        return -ENOMEM;
    return child_make(child, SYS_mkdirat, request->directory_fd, (long)request->name,
                      (long)(request->mode & 01777), 0);
}

int bind_fifo(const struct bind_request *request)
{
    cleanup(child_done) struct child *child = child_new(request);

    if (!child)
        return -ENOMEM;
    return child_make(child, SYS_mknodat, request->directory_fd, (long)request->name,
                      (long)(S_IFIFO | request->mode), 0);
}

int bind_queue(const struct bind_request *request, const struct mq_attr *attributes, int *ret_fd)
{
    cleanup(child_done) struct child *child = child_new(request);

    if (!child)
        return -ENOMEM;
    /* The kernel's names are without the slash, mq_open(3) takes it away. */
    int r = child_make(child, SYS_mq_open, (long)(request->name + 1),
                       O_RDONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, (long)request->mode,
                       (long)attributes);
    if (r < 0)
        return r;
    *ret_fd = (int)child->result;
    return 0;
}
