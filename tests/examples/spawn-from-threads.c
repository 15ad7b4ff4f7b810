/* SPDX-License-Identifier: MIT */
/* A program with threads that start other programs, and learn how they ended. */
#include <hark.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define N_THREADS 4

static struct hark_forkserver *server;

static void *run_one(void *argument)
{
    static const char *const arguments[] = {"sh", "-c", "exit 7", NULL};
    const struct hark_spawn spawn = {
        .size = sizeof(spawn),
        .program = "/bin/sh",
        .arguments = arguments,
    };
    int *status = argument;
    struct hark_child child;
    struct hark_exit end;

    int r = hark_forkserver_spawn(server, &spawn, HARK_CHILD_EXIT, &child);
    if (r < 0) {
        fprintf(stderr, "cannot start \"%s\": %s\n", spawn.program, strerror(-r));
        return NULL;
    }
    /* One whole message; the end of the file in its place if the server was killed. */
    if (read(child.exit_fd, &end, sizeof(end)) == (ssize_t)sizeof(end) && end.code == CLD_EXITED)
        *status = end.status;
    close(child.exit_fd);
    return NULL;
}

int main(void)
{
    int statuses[N_THREADS] = {0}, n_right = 0;
    pthread_t threads[N_THREADS];

    int r = hark_forkserver_start(&server); /* first of all: there are no threads yet */
    if (r < 0) {
        fprintf(stderr, "cannot start a fork server: %s\n", strerror(-r));
        return 1;
    }
    for (int i = 0; i < N_THREADS; i++)
        if (pthread_create(&threads[i], NULL, run_one, &statuses[i]) != 0)
            return 1;
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        n_right += statuses[i] == 7;
    }
    hark_forkserver_free(server);
    printf("%d of %d ended with status 7\n", n_right, N_THREADS);
    return n_right == N_THREADS ? 0 : 1;
}
