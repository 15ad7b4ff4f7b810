/* SPDX-License-Identifier: MIT */
#include "unit/unit-name.h"

#include "test.h"

/* The result of a call as text that is kept; "?" and the errno's number when it failed. */
#define GIVES(call, expected)                                                                      \
    do {                                                                                           \
        char *given_ = NULL;                                                                       \
        int r_ = call;                                                                             \
        if (r_ < 0)                                                                                \
            ASSERT(asprintf(&given_, "?%d", -r_) > 0);                                             \
        ASSERT_STRING(given_, expected);                                                           \
        free(given_);                                                                              \
    } while (0)
#define INVALID "?22"

TEST(kinds)
{
    static const struct {
        const char *name;
        enum unit_name_kind kind;
    } names[] = {
        {"a.service", UNIT_NAME_PLAIN},
        {"a@.socket", UNIT_NAME_TEMPLATE},
        {"a@b.socket", UNIT_NAME_INSTANCE},
        {"a@b@c.socket", UNIT_NAME_INSTANCE},
        {"a.b.service", UNIT_NAME_PLAIN},
        {"a-\\x2f:_.slice", UNIT_NAME_PLAIN},
        {"", UNIT_NAME_INVALID},
        {"a", UNIT_NAME_INVALID},
        {".service", UNIT_NAME_INVALID},
        {"@.service", UNIT_NAME_INVALID},
        {"@a.service", UNIT_NAME_INVALID},
        {"a.nothing", UNIT_NAME_INVALID},
        {"a b.service", UNIT_NAME_INVALID},
        {"a/b.service", UNIT_NAME_INVALID},
        {"\xc3\xa4.service", UNIT_NAME_INVALID},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        ASSERT_INT(unit_name_classify(names[i].name), names[i].kind);
    char name[300];
    memset(name, 'a', sizeof(name));
    strcpy(name + 255 - 8, ".service");
    ASSERT_INT(unit_name_classify(name), UNIT_NAME_PLAIN);
    strcpy(name + 256 - 8, ".service");
    memset(name, 'a', 248);
    ASSERT_INT(unit_name_classify(name), UNIT_NAME_INVALID);
}

TEST(parts)
{
    ASSERT_STRING(unit_name_type("a@b.c.socket"), "socket");
    ASSERT(!unit_name_type("a"));
    GIVES(unit_name_prefix("a-b@c.socket", &given_), "a-b");
    GIVES(unit_name_prefix("a.b.socket", &given_), "a.b");
    GIVES(unit_name_prefix("a", &given_), INVALID);
    GIVES(unit_name_without_type("a@b.c.socket", &given_), "a@b.c");
    GIVES(unit_name_instance("a@b@c.socket", &given_), "b@c");
    GIVES(unit_name_instance("a@.socket", &given_), "");
    GIVES(unit_name_instance("a.socket", &given_), "");
}

TEST(building)
{
    GIVES(unit_name_build("a", NULL, "socket", &given_), "a.socket");
    GIVES(unit_name_build("a", "", "socket", &given_), "a@.socket");
    GIVES(unit_name_build("a", "1@2", "service", &given_), "a@1@2.service");
    GIVES(unit_name_build("", "1", "service", &given_), INVALID);
    GIVES(unit_name_build("a@", "1", "service", &given_), INVALID);
    GIVES(unit_name_build("a", "/", "service", &given_), INVALID);
    GIVES(unit_name_build("a", "1", "servic", &given_), INVALID);
    GIVES(unit_name_template("a@b.socket", &given_), "a@.socket");
    GIVES(unit_name_template("a.socket", &given_), INVALID);
    GIVES(unit_name_replace_instance("a@.socket", "x", &given_), "a@x.socket");
    GIVES(unit_name_change_type("a@b.socket", "service", &given_), "a@b.service");
    GIVES(unit_name_change_type("a@.socket", "service", &given_), "a@.service");
    GIVES(unit_name_change_type("a.socket", "service", &given_), "a.service");
    char instance[256];
    memset(instance, 'a', 255);
    instance[255] = '\0';
    char expected[16];
    (void)snprintf(expected, sizeof(expected), "?%d", ENAMETOOLONG);
    GIVES(unit_name_build("a", instance, "service", &given_), expected);
}

TEST(escaping)
{
    GIVES(unit_name_escape("", &given_), "");
    GIVES(unit_name_escape(".a/b-c d.\xc3\xa4@", &given_), "\\x2ea-b\\x2dc\\x20d.\\xc3\\xa4\\x40");
    GIVES(unit_name_unescape("\\x2ea-b\\x2dc\\x2F", &given_), ".a/b-c/");
    static const char *const wrong[] = {"\\", "\\x", "\\x2", "\\xg0", "\\x00", "\\2d"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        GIVES(unit_name_unescape(wrong[i], &given_), INVALID);
}

TEST(path_escaping)
{
    GIVES(unit_name_path_escape("/", &given_), "-");
    GIVES(unit_name_path_escape("", &given_), "-");
    GIVES(unit_name_path_escape("//a//b-c/./", &given_), "a-b\\x2dc");
    GIVES(unit_name_path_escape("/.a", &given_), "\\x2ea");
    GIVES(unit_name_path_escape("/a/../b", &given_), INVALID);
    GIVES(unit_name_path_escape(".", &given_), INVALID);
    GIVES(unit_name_path_unescape("-", &given_), "/");
    GIVES(unit_name_path_unescape("a-b\\x2dc", &given_), "/a/b-c");
    static const char *const wrong[] = {"", "a-", "-a", "a--b", "\\x2e", "a-\\x2e\\x2e"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        GIVES(unit_name_path_unescape(wrong[i], &given_), INVALID);
}
