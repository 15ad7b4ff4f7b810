/* SPDX-License-Identifier: MIT */
/* The cheapest handler: a few hundred bytes without libc, so that a measurement shows the server's
 * cost and not the handler's. With HOLD it first reads one byte: 'q' (quick) is answered as always,
 * 's' (slow) after 10 ms, at 'h' (hold) it answers and lives on until its client leaves. */
#define SLOW_NSEC 10000000
#if defined(__x86_64__) || defined(__aarch64__)

#include <sys/syscall.h>

static inline long system_call(long number, long a, long b, long c)
{
#ifdef __x86_64__
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}

#define read(fd, buffer, size)  system_call(SYS_read, fd, (long)(buffer), size)
#define write(fd, buffer, size) system_call(SYS_write, fd, (long)(buffer), size)
#define sleep_nsec(nsec)        system_call(SYS_nanosleep, (long)(long[2]){0, nsec}, 0, 0)
#define ENTRY                   __attribute__((noreturn)) void _start(void)
#define LEAVE(status)                                                                              \
    for (;;)                                                                                       \
    (void)system_call(SYS_exit_group, status, 0, 0)
ENTRY;

#else

#include <time.h>
#include <unistd.h>

#define sleep_nsec(nsec) nanosleep(&(struct timespec){.tv_nsec = nsec}, (struct timespec *)0)

#define ENTRY         int main(void)
#define LEAVE(status) return status

#endif

ENTRY
{
    long written;
#ifdef HOLD
    char order = '\0';
    long got = read(0, &order, 1);

    if (got != 1)
        LEAVE(2);
    if (order == 's')
        (void)sleep_nsec(SLOW_NSEC);
#endif
    written = write(1, "ok\n", 3);
#ifdef HOLD
    while (got > 0 && order == 'h')
        got = read(0, &order, 1);
#endif
    LEAVE(written == 3 ? 0 : 1);
}
