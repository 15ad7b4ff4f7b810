/* SPDX-License-Identifier: MIT */
/*
 * Threads, processes and random kills: no exit is lost, no descriptor leaks, no zombie stays.
 *
 * HARK_STRESS_SPAWNS says how many children (the default is for every day, 100000 for a sanitizer):
 *
 *     HARK_STRESS_SPAWNS=100000 meson test -C BUILD forkserver-stress --timeout-multiplier 0
 */
#include "test-forkserver.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#ifdef __SANITIZE_THREAD__
#define CLIENT_THREADS 1 /* it knows nothing of processes that libc did not fork */
#else
#define CLIENT_THREADS 2
#endif

enum { N_THREADS = 4, N_CLIENTS = 4, N_AT_ONCE = 4, DEFAULT_SPAWNS = 3000 };

/* Shared by all processes of a test. */
static struct {
    _Atomic long left; /* children that are still to be made */
    _Atomic long made, reported;
} * shared;

static long wanted_spawns(void)
{
    const char *text = getenv("HARK_STRESS_SPAWNS");
    long n = text ? strtol(text, NULL, 10) : 0;

    return n > 0 ? n : DEFAULT_SPAWNS;
}

static void share(void)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(shared != MAP_FAILED);
    shared->left = wanted_spawns();
}

static unsigned seed(void)
{
    unsigned value;

    ASSERT_INT(getrandom(&value, sizeof(value), 0), sizeof(value));
    return value;
}

/* ---- What clients do ----------------------------------------------------------------------- */

struct job {
    struct hark_child child;
    int code, status; /* how it is to end; code 0: nobody asks */
};

static int echo_status(struct hark_forkserver *connection, int socket_fd)
{
    unsigned char status;

    return !connection && read(socket_fd, &status, 1) == 1 ? status : 255;
}

/* Negative: the server is gone. */
static int run_function(struct hark_forkserver *server, struct job *job, unsigned *state)
{
    unsigned char status = (unsigned char)(rand_r(state) % 255);
    int r =
        hark_forkserver_fork(server, echo_status, HARK_CHILD_EXIT | HARK_CHILD_SOCKET, &job->child);

    if (r < 0)
        return r;
    ASSERT_INT(send(job->child.socket_fd, &status, 1, MSG_NOSIGNAL), 1);
    ASSERT_CALL(close(job->child.socket_fd));
    job->code = CLD_EXITED;
    job->status = status;
    return 0;
}

/* Killed by the server, or past it. */
static int run_victim(struct hark_forkserver *server, struct job *job, unsigned *state)
{
    static const char *const arguments[] = {"sleep", "1000", NULL};
    const struct hark_spawn spawn = {
        .size = sizeof(spawn), .program = "/bin/sleep", .arguments = arguments};
    int r = hark_forkserver_spawn(server, &spawn, HARK_CHILD_EXIT, &job->child);

    if (r < 0)
        return r;
    if (rand_r(state) % 2)
        ASSERT_CALL(kill(job->child.pid, SIGKILL));
    else
        r = hark_forkserver_kill(server, &job->child, SIGKILL);
    if (r < 0) {
        ASSERT_CALL(close(job->child.exit_fd));
        return r;
    }
    job->code = CLD_KILLED;
    job->status = SIGKILL;
    return 0;
}

static int run_shell(struct hark_forkserver *server, struct job *job, unsigned *state)
{
    char script[32];

    job->code = CLD_EXITED;
    job->status = rand_r(state) % 256;
    snprintf(script, sizeof(script), "exit %d", job->status);
    unsigned connection = rand_r(state) % 4 == 0 ? (unsigned)HARK_CHILD_CONNECTION : 0;
    return run_script(server, script, NULL, 0, HARK_CHILD_EXIT | connection, &job->child);
}

static int run_nothing(struct hark_forkserver *server)
{
    static const char *const arguments[] = {"x", NULL};
    const struct hark_spawn spawn = {
        .size = sizeof(spawn), .program = "/nonexistent", .arguments = arguments};
    struct hark_child child;
    int r = hark_forkserver_spawn(server, &spawn, HARK_CHILD_EXIT | HARK_CHILD_SOCKET, &child);

    ASSERT(r < 0);
    return r == -ENOENT ? 0 : r;
}

static int run_one(struct hark_forkserver *server, struct job *job, unsigned *state)
{
    int r;

    *job = (struct job){.code = 0};
    switch (rand_r(state) % 16) {
    case 0:
        return run_nothing(server);
    case 1:
        r = run_function(server, job, state);
        break;
    case 2:
    case 3:
        r = run_victim(server, job, state);
        break;
    case 4:
        r = run_shell(server, job, state);
        if (r >= 0) { /* nobody is interested */
            ASSERT_CALL(close(job->child.exit_fd));
            job->code = 0;
            atomic_fetch_add(&shared->reported, 1);
        }
        break;
    default:
        r = run_shell(server, job, state);
    }
    if (r >= 0)
        atomic_fetch_add(&shared->made, 1);
    return r;
}

/* The end of a child, as it must be; or, of a server that may have been killed, none. */
static void check_end(const struct job *job, bool may_be_lost)
{
    struct hark_exit end;

    if (job->code == 0)
        return;
    await(job->child.exit_fd);
    ssize_t n = read(job->child.exit_fd, &end, sizeof(end));
    ASSERT_CALL(close(job->child.exit_fd));
    if (may_be_lost && n == 0)
        return;
    ASSERT_INT(n, sizeof(end));
    ASSERT_INT(end.pid, job->child.pid);
    ASSERT_INT(end.code, job->code);
    ASSERT_INT(end.status, job->status);
    atomic_fetch_add(&shared->reported, 1);
}

/* Several at once, until all are made. */
static void *spawn_all(void *argument)
{
    struct hark_forkserver *server = argument;
    unsigned state = seed();

    while (atomic_fetch_sub(&shared->left, N_AT_ONCE) > 0) {
        struct job jobs[N_AT_ONCE];

        for (int i = 0; i < N_AT_ONCE; i++)
            ASSERT_OK(run_one(server, &jobs[i], &state));
        for (int i = 0; i < N_AT_ONCE; i++)
            check_end(&jobs[i], false);
    }
    return NULL;
}

static void spawn_by_threads(struct hark_forkserver *server, int n)
{
    pthread_t threads[N_THREADS];

    for (int i = 1; i < n; i++)
        ASSERT_INT(pthread_create(&threads[i], NULL, spawn_all, server), 0);
    (void)spawn_all(server);
    for (int i = 1; i < n; i++)
        ASSERT_INT(pthread_join(threads[i], NULL), 0);
}

/* Does not end before it is told to: until then its pid is its own. */
static int client_entry(struct hark_forkserver *connection, int socket_fd)
{
    char byte;

    spawn_by_threads(connection, CLIENT_THREADS);
    ASSERT_INT(read(socket_fd, &byte, 1), 0);
    return 17;
}

/* ---- What must not remain ------------------------------------------------------------------ */

static struct hark_child start_client(struct hark_forkserver *server)
{
    struct hark_child client;

    ASSERT_OK(hark_forkserver_fork(server, client_entry,
                                   HARK_CHILD_CONNECTION | HARK_CHILD_SOCKET | HARK_CHILD_EXIT,
                                   &client));
    return client;
}

static void kill_clients_until_all_is_made(struct hark_forkserver *server,
                                           struct hark_child *clients)
{
    unsigned state = seed();
    int n_killed = 0;

    while (atomic_load(&shared->left) > 0) {
        struct hark_child *client = &clients[rand_r(&state) % N_CLIENTS];

        poll(NULL, 0, rand_r(&state) % 40);
        ASSERT_CALL(kill(client->pid, SIGKILL));
        assert_exit(client, CLD_KILLED, SIGKILL);
        ASSERT_CALL(close(client->socket_fd));
        *client = start_client(server);
        n_killed++;
    }
    printf("     %d clients were killed\n", n_killed);
}

static void *spawn_in_thread(void *argument)
{
    spawn_by_threads(argument, N_THREADS - 1);
    return NULL;
}

TEST(nothing_is_lost_when_clients_are_killed)
{
    struct hark_child clients[N_CLIENTS];
    pthread_t thread;

    share();
    struct hark_forkserver *server = start();
    int n_descriptors = count_descriptors(hark_forkserver_pid(server));
    for (int i = 0; i < N_CLIENTS; i++)
        clients[i] = start_client(server);
    ASSERT_INT(pthread_create(&thread, NULL, spawn_in_thread, server), 0);
    kill_clients_until_all_is_made(server, clients);
    ASSERT_INT(pthread_join(thread, NULL), 0);
    for (int i = 0; i < N_CLIENTS; i++) {
        ASSERT_CALL(close(clients[i].socket_fd));
        assert_exit(&clients[i], CLD_EXITED, 17);
    }
    printf("     %ld children, %ld ends were read\n", atomic_load(&shared->made),
           atomic_load(&shared->reported));
    ASSERT_OK(hark_forkserver_kill_all(server, SIGKILL)); /* victims whose killer was killed */
    AWAIT(has_no_children(hark_forkserver_pid(server)));
    AWAIT(count_descriptors(hark_forkserver_pid(server)) == n_descriptors);
    ASSERT_INT(hark_forkserver_stop(server, 0), 0);
    hark_forkserver_free(server);
    ASSERT_CALL(munmap(shared, sizeof(*shared)));
}

/* ---- The server itself --------------------------------------------------------------------- */

static void *spawn_until_killed(void *argument)
{
    struct hark_forkserver *server = argument;
    unsigned state = seed();
    int r = 0;

    while (r >= 0) {
        struct job jobs[N_AT_ONCE];
        int n = 0;

        while (n < N_AT_ONCE && r >= 0) {
            r = run_one(server, &jobs[n], &state);
            n += r >= 0;
        }
        for (int i = 0; i < n; i++)
            check_end(&jobs[i], true);
    }
    ASSERT_INT(r, -EPIPE);
    return NULL;
}

/* What a killed server leaves behind comes to us, who are subreaper. */
static void end_orphans(void)
{
    char text[4096];

    do {
        list_children(getpid(), text, sizeof(text));
        for (char *next = text, *end; *next; next = end) {
            pid_t pid = (pid_t)strtol(next, &end, 10);

            if (end == next)
                break;
            ASSERT_CALL(kill(pid, SIGKILL));
        }
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
    } while (text[0] != '\0');
}

static void kills_servers(void)
{
    unsigned state = seed();

    ASSERT_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    share();
    for (long round = 0; round < 10 + wanted_spawns() / 500; round++) {
        struct hark_forkserver *server = start();
        pthread_t threads[N_THREADS];

        for (int i = 0; i < N_THREADS; i++)
            ASSERT_INT(pthread_create(&threads[i], NULL, spawn_until_killed, server), 0);
        poll(NULL, 0, rand_r(&state) % 20);
        ASSERT_CALL(kill(hark_forkserver_pid(server), SIGKILL));
        for (int i = 0; i < N_THREADS; i++)
            ASSERT_INT(pthread_join(threads[i], NULL), 0);
        hark_forkserver_free(server);
        end_orphans();
    }
    ASSERT_CALL(munmap(shared, sizeof(*shared)));
}

TEST(everybody_learns_that_the_server_was_killed)
{
    in_child(kills_servers);
}
