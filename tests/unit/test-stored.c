/* SPDX-License-Identifier: MIT */
#include "directory.h"
#include "test.h"

#include <fcntl.h>

#include "supervisor/stored.h"

static struct socket_listener listeners[] = {
    {.kind = LISTENER_STREAM, .address = (char *)"/run/a"},
    {.kind = LISTENER_STREAM, .address = (char *)"/run/b"},
    {.kind = LISTENER_SEQPACKET, .address = (char *)"/run/a"},
};
static struct socket_unit unit = {.listeners = {.items = listeners, .n = 3}};

static const char *name_of(const char *socket, size_t index)
{
    static char names[8][STORED_NAME_SIZE];
    static unsigned at;
    char *name = names[at++ % 8];

    stored_name(socket, &unit, index, name);
    ASSERT(stored_is_name(name));
    for (const char *c = name; *c; c++)
        ASSERT(*c > ' ' && *c <= '~' && *c != ':');
    return name;
}

TEST(names)
{
    char longest[256];

    ASSERT(strncmp(name_of("foo.socket", 0), "hark-foo-", 9) == 0);
    ASSERT_STRING(name_of("foo.socket", 0), name_of("foo.socket", 0));
    ASSERT(strcmp(name_of("foo.socket", 0), name_of("foo.socket", 1)) != 0);
    ASSERT(strcmp(name_of("foo.socket", 0), name_of("foo.socket", 2)) != 0);
    ASSERT(strcmp(name_of("foo.socket", 0), name_of("bar.socket", 0)) != 0);
    ASSERT(strcmp(name_of("a:b.socket", 0), name_of("a_b.socket", 0)) != 0);
    memset(longest, 'x', sizeof(longest));
    memcpy(longest + sizeof(longest) - sizeof(".socket"), ".socket", sizeof(".socket"));
    ASSERT(strlen(name_of(longest, 0)) < STORED_NAME_SIZE);
    const char *before = name_of(longest, 0);
    longest[240] = 'y'; /* beyond what is shown of it */
    ASSERT(strcmp(before, name_of(longest, 0)) != 0);
    ASSERT(!stored_is_name(NULL) && !stored_is_name("") && !stored_is_name("foo.socket"));
}

TEST(what_makes_it_another_listener)
{
    const char *before = name_of("foo.socket", 0);

    unit.ipv6_only = IPV6_ONLY_YES;
    ASSERT(strcmp(before, name_of("foo.socket", 0)) != 0);
    unit.ipv6_only = IPV6_ONLY_DEFAULT;
    unit.device = (char *)"lo";
    ASSERT(strcmp(before, name_of("foo.socket", 0)) != 0);
    unit.device = NULL;
    unit.backlog = 7; /* does not */
    ASSERT_STRING(before, name_of("foo.socket", 0));
}

TEST(a_list)
{
    struct stored_list list = {0};

    directory_make();
    int one = open(in("one"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int two = open(in("two"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_CALL(one);
    ASSERT_CALL(two);
    ASSERT(!stored_list_find(NULL, one));
    ASSERT(!stored_list_find(&list, one));
    ASSERT_ERROR(stored_list_add(&list, "a", -1), -EBADF);
    ASSERT_OK(stored_list_add(&list, "a", one));
    ASSERT_OK(stored_list_add(&list, "a", two));
    ASSERT_OK(stored_list_add(&list, "b", two));
    ASSERT_STRING(stored_list_find(&list, one), "a");
    ASSERT(stored_list_get(&list, "a", one) == &list.items[0]);
    ASSERT(stored_list_get(&list, "b", two) == &list.items[2]);
    ASSERT(!stored_list_get(&list, "b", one));
    stored_list_remove(&list, "a");
    ASSERT_INT(list.n, 1);
    ASSERT_STRING(stored_list_find(&list, two), "b");
    ASSERT(!stored_list_find(&list, one));
    stored_list_done(&list);
    ASSERT_INT(list.n, 0);
    close(one);
    close(two);
    directory_remove();
}
