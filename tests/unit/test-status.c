/* SPDX-License-Identifier: MIT */
/* How hark status writes numbers, tables, metrics and exits. */
#include "test.h"

#include <limits.h>

#include "basic/clock.h"
#include "cli/human.h"
#include "cli/status-report.h"
#include "cli/table.h"

#define MSEC ((uint64_t)1000)
#define MIN  (60 * USEC_PER_SEC)
#define HOUR (60 * MIN)
#define DAY  (24 * HOUR)

TEST(counts)
{
    static const struct {
        uint64_t count;
        const char *text;
    } cases[] = {
        {0, "0"},           {9999, "9999"},      {10000, "10.0k"},      {12345, "12.3k"},
        {99999, "99.9k"},   {100000, "100k"},    {999999, "999k"},      {1000000, "1.00M"},
        {1234567, "1.23M"}, {45678901, "45.6M"}, {7000000000, "7.00G"}, {UINT64_MAX, "18.4E"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[HUMAN_MAX];
        ASSERT_STRING(human_count(cases[i].count, text), cases[i].text);
    }
}

TEST(durations)
{
    static const struct {
        uint64_t usec;
        const char *text;
    } cases[] = {
        {0, "0 µs"},
        {999, "999 µs"},
        {1000, "1.0 ms"},
        {4210, "4.2 ms"},
        {9999, "9.9 ms"},
        {10000, "10 ms"},
        {999999, "999 ms"},
        {USEC_PER_SEC, "1.0 s"},
        {119 * USEC_PER_SEC, "119 s"},
        {2 * MIN, "2.0 min"},
        {2 * MIN + 30 * USEC_PER_SEC, "2.5 min"},
        {119 * MIN, "119 min"},
        {2 * HOUR, "2.0 h"},
        {47 * HOUR, "47 h"},
        {2 * DAY, "2.0 d"},
        {1000 * DAY, "1000 d"},
        {UINT64_MAX, "213503982 d"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[HUMAN_MAX];
        ASSERT_STRING(human_duration(cases[i].usec, text), cases[i].text);
    }
}

TEST(rates_and_ages)
{
    char text[HUMAN_MAX];

    ASSERT_STRING(human_rate(0, text), "-");
    ASSERT_STRING(human_rate(-1, text), "-");
    ASSERT_STRING(human_rate(0.01, text), "<0.1/s");
    ASSERT_STRING(human_rate(0.25, text), "0.2/s");
    ASSERT_STRING(human_rate(9.94, text), "9.9/s");
    ASSERT_STRING(human_rate(9.96, text), "10/s");
    ASSERT_STRING(human_rate(12345.6, text), "12.3k/s");
    ASSERT_STRING(human_rate(1e300, text), "1.00E/s");
    ASSERT_STRING(human_age(0, text), "0 s");
    ASSERT_STRING(human_age(MIN - 1, text), "59 s");
    ASSERT_STRING(human_age(2 * MIN + 5 * USEC_PER_SEC, text), "2 min 5 s");
    ASSERT_STRING(human_age(HOUR, text), "1 h 0 min");
    ASSERT_STRING(human_age(3 * DAY + 4 * HOUR, text), "3 d 4 h");
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static const struct table_column columns[] = {
    {.heading = "NAME", .minimum = 5},
    {.heading = "PLACE", .minimum = 6},
    {.heading = "N", .is_number = true},
    {.heading = "EXTRA", .is_number = true, .dispensable = 1},
    {.heading = "MORE", .is_number = true, .dispensable = 2},
};

/* The caller's. */
static char *print_table(const struct table *table, size_t width, bool has_styles)
{
    char *text = NULL;
    size_t size;
    const struct screen screen = {
        .out = open_memstream(&text, &size), .columns = width, .has_styles = has_styles};

    ASSERT(screen.out);
    ASSERT_OK(table_print(table, &screen));
    ASSERT_INT(fclose(screen.out), 0);
    return text;
}

static void assert_table(const struct table *table, size_t width, const char *expected)
{
    char *text = print_table(table, width, false);

    ASSERT_STRING(text, expected);
    free(text);
}

static void fill(struct table *table)
{
    table_init(table, columns, sizeof(columns) / sizeof(columns[0]));
    table_add(table, 0, STYLE_NONE, "a");
    table_add(table, 1, STYLE_NONE, "somewhere else");
    table_add(table, 2, STYLE_BAD, "12");
    table_add(table, 3, STYLE_NONE, "3");
    table_add(table, 4, STYLE_NONE, "4");
    table_end_row(table);
    table_add(table, 0, STYLE_NONE, "a longer näme");
    table_add(table, 2, STYLE_NONE, "1");
    table_end_row(table);
}

TEST(a_table_is_as_wide_as_it_must)
{
    struct table table;

    fill(&table);
    assert_table(&table, 0,
                 "  NAME           PLACE            N  EXTRA  MORE\n"
                 "  a              somewhere else  12      3     4\n"
                 "  a longer näme                   1\n");
    assert_table(&table, 48,
                 "  NAME           PLACE            N  EXTRA  MORE\n"
                 "  a              somewhere else  12      3     4\n"
                 "  a longer näme                   1\n");
    table_done(&table);
}

TEST(a_narrow_table_is_cut_then_has_fewer_columns)
{
    struct table table;

    fill(&table);
    assert_table(&table, 40,
                 "  NAME       PLACE        N  EXTRA  MORE\n"
                 "  a          somewhere…  12      3     4\n"
                 "  a longer…               1\n");
    assert_table(&table, 32,
                 "  NAME   PLACE    N  EXTRA  MORE\n"
                 "  a      somew…  12      3     4\n"
                 "  a lo…           1\n");
    assert_table(&table, 31,
                 "  NAME      PLACE      N  EXTRA\n"
                 "  a         somewhe…  12      3\n"
                 "  a longe…             1\n");
    assert_table(&table, 1,
                 "  NAME   PLACE    N\n"
                 "  a      somew…  12\n"
                 "  a lo…           1\n");
    table_done(&table);
}

TEST(cells_are_safe_and_styled)
{
    struct table table;

    table_init(&table, columns, 3);
    assert_table(&table, 0, "");
    table_add(&table, 0, STYLE_NONE, "first");
    table_add(&table, 0, STYLE_BAD, "\033[2J\n");
    table_end_row(&table);
    char *text = print_table(&table, 0, true);
    ASSERT_STRING(text, "  \033[2mNAME\033[0m\n"
                        "  \033[31m?[2J?\033[0m\n");
    free(text);
    table_done(&table);
}

/* ---- Answers --------------------------------------------------------------------------------- */

static json_t *parse(const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_ALLOW_NUL, &error);

    if (!json)
        TEST_FAIL("%s: %s", error.text, text);
    return json;
}

static void assert_exit(const char *exit, const char *hark, const char *expected)
{
    char *text = NULL;
    size_t size;
    const struct screen screen = {.out = open_memstream(&text, &size)};
    json_t *json = parse(exit);

    ASSERT(screen.out);
    ASSERT_OK(status_print_exit(json, hark, &screen));
    ASSERT_INT(fclose(screen.out), 0);
    ASSERT(strlen(text) > strlen("12:34:56 "));
    ASSERT_STRING(text + strlen("12:34:56 "), expected);
    json_decref(json);
    free(text);
}

TEST(exits)
{
    assert_exit("{\"unit\":\"echo\",\"number\":17,\"pid\":42,\"code\":\"exited\",\"status\":\"0\","
                "\"failed\":false,\"run_time_usec\":4210,\"peer\":\"192.0.2.7:4711\","
                "\"step\":null,\"error\":null}",
                NULL, "echo@17 (pid 42) exited with status 0 after 4.2 ms, peer 192.0.2.7:4711\n");
    assert_exit("{\"unit\":\"echo\",\"number\":18,\"pid\":43,\"code\":\"dumped\","
                "\"status\":\"SEGV\",\"failed\":true,\"run_time_usec\":0}",
                "mail", "mail: echo@18 (pid 43) was killed by SEGV (core dumped) after 0 µs\n");
    assert_exit("{\"unit\":\"x\",\"number\":1,\"pid\":2,\"code\":\"exited\",\"status\":\"203\","
                "\"failed\":true,\"run_time_usec\":90,\"step\":\"exec\",\"error\":\"ENOENT\"}",
                NULL, "x@1 (pid 2) exited with status 203 after 90 µs at step exec: ENOENT\n");
    assert_exit("{}", NULL, "@0 (pid 0) was killed by  after 0 µs\n");
}

static char *metrics_of(const struct hark_statuses *statuses)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    ASSERT(out);
    ASSERT_OK(status_print_metrics(statuses, 2000 * USEC_PER_SEC, out));
    ASSERT_INT(fclose(out), 0);
    return text;
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        TEST_FAIL("no %s in:\n%s", part, text);
}

TEST(metrics_have_labels_of_their_own)
{
    char one[] = "a\"\\\nb", same[] = "a\"\\\nb", path[] = "/run/two";
    struct hark_status list[] = {
        {.name = one,
         .path = path,
         .status = parse("{\"state\":\"reloading\","
                         "\"uptime_usec\":1500000}")},
        {.name = same, .path = path},
    };
    const struct hark_statuses statuses = {.list = list, .n = 2};
    char *text = metrics_of(&statuses);

    assert_contains(text, "hark_up{hark=\"a\\\"\\\\?b\"} 1\nhark_up{hark=\"/run/two\"} 0\n");
    assert_contains(text, "hark_start_time_seconds{hark=\"a\\\"\\\\?b\"} 1998.500\n# ");
    json_decref(list[0].status);
    free(text);
}

TEST(metrics_have_canonical_numbers)
{
    char name[] = "h", path[] = "/p";
    struct hark_status list[] = {
        {.name = name,
         .path = path,
         .status = parse("{\"units\":[{\"name\":\"u\",\"done\":9,\"run_time_total_usec\":12,"
                         "\"run_time\":[{\"up_to_usec\":10,\"count\":1},"
                         "{\"up_to_usec\":100,\"count\":1},{\"up_to_usec\":1000000,\"count\":2},"
                         "{\"up_to_usec\":2500000,\"count\":2}]}]}")},
    };
    const struct hark_statuses statuses = {.list = list, .n = 1};
    char *text = metrics_of(&statuses);

    assert_contains(text, "_bucket{hark=\"h\",unit=\"u\",le=\"1e-05\"} 1\n");
    assert_contains(text, "_bucket{hark=\"h\",unit=\"u\",le=\"0.0001\"} 1\n");
    assert_contains(text, "_bucket{hark=\"h\",unit=\"u\",le=\"1.0\"} 2\n");
    assert_contains(text, "_bucket{hark=\"h\",unit=\"u\",le=\"2.5\"} 2\n");
    assert_contains(text, "_bucket{hark=\"h\",unit=\"u\",le=\"+Inf\"} 9\n");
    assert_contains(text, "_sum{hark=\"h\",unit=\"u\"} 1.2e-05\n# EOF\n");
    json_decref(list[0].status);
    free(text);
}

TEST(serving_is_what_serves)
{
    static const struct {
        const char *status;
        bool serves;
    } cases[] = {
        {"{\"state\":\"serving\"}", true},   {"{\"state\":\"reloading\"}", true},
        {"{\"state\":\"starting\"}", false}, {"{\"state\":\"draining\"}", false},
        {"{\"state\":\"stopping\"}", false}, {"{}", false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct hark_status status = {.status = parse(cases[i].status)};
        ASSERT_INT(status_is_serving(&status), cases[i].serves);
        json_decref(status.status);
    }
    ASSERT(!status_is_serving(&(struct hark_status){0}));
}
