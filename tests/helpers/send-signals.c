/* SPDX-License-Identifier: MIT */
/*
 * Sends signals without a pause until it is killed: send-signals UID SIGNALS PID…
 *
 * As that user, in turn each of the SIGNALS (numbers with commas between them, or "all": those that
 * sigfillset(3) has, but KILL and STOP) to each of the processes. Pid -1 is everybody whom that
 * user may send signals, which is asked only as somebody who is not root. Prints "ready" before the
 * first.
 */
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define TARGETS_MAX 64

static size_t read_signals(const char *text, int *signals)
{
    size_t n = 0;

    if (strcmp(text, "all") == 0) {
        for (int number = 1; number <= SIGRTMAX; number++)
            if (number != SIGKILL && number != SIGSTOP &&
                (number < __SIGRTMIN || number >= SIGRTMIN))
                signals[n++] = number;
        return n;
    }
    for (char *end; n < (size_t)NSIG && *text != '\0'; text = *end == ',' ? end + 1 : end)
        signals[n++] = (int)strtol(text, &end, 10);
    return n;
}

static bool become(uid_t user)
{
    return user == geteuid() || (setgroups(0, NULL) == 0 && setresgid(user, user, user) == 0 &&
                                 setresuid(user, user, user) == 0);
}

int main(int argc, char *argv[])
{
    int signals[NSIG];
    pid_t targets[TARGETS_MAX];
    size_t n_targets = 0;

    if (argc < 4 || argc - 3 > TARGETS_MAX)
        return 64;
    if (!become((uid_t)strtoul(argv[1], NULL, 10))) {
        perror("send-signals");
        return 1;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setsid(); /* within a session everybody may send SIGCONT to everybody */
    size_t n_signals = read_signals(argv[2], signals);
    for (int i = 3; i < argc; i++) {
        targets[n_targets] = (pid_t)strtol(argv[i], NULL, 10);
        if (targets[n_targets] == 0 || targets[n_targets] < -1 ||
            (targets[n_targets] == -1 && geteuid() == 0))
            return 64;
        n_targets++;
    }
    printf("ready\n");
    (void)fflush(stdout);
    for (;;)
        for (size_t i = 0; i < n_signals; i++)
            for (size_t j = 0; j < n_targets; j++)
                (void)kill(targets[j], signals[i]);
}
