/* SPDX-License-Identifier: MIT */
/* The handler of everyday life: a dynamic C program. What ld.so and libc cost at start is in its
 * figures. */
#include <unistd.h>

int main(void)
{
    return write(STDOUT_FILENO, "ok\n", 3) == 3 ? 0 : 1;
}
