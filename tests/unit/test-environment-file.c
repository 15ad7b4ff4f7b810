/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <sys/stat.h>

#include "basic/cleanup.h"
#include "unit/environment-file.h"

/* The variables joined by "|", then "!LINE:NAME" for each fault; or the error and "@LINE". */
static const char *parsed(const char *text)
{
    static char result[4096];
    struct environment_file file;
    unsigned line = 0;
    int r = environment_file_parse(text, strlen(text), &file, &line);
    int n = 0;

    if (r < 0) {
        snprintf(result, sizeof(result), "%s@%u", strerrorname_np(-r), line);
        return result;
    }
    result[0] = '\0';
    for (size_t i = 0; i < file.variables.n; i++)
        n += snprintf(result + n, sizeof(result) - (size_t)n, "%s%s", i > 0 ? "|" : "",
                      file.variables.items[i]);
    for (size_t i = 0; i < file.n_faults; i++)
        n += snprintf(result + n, sizeof(result) - (size_t)n, "!%u:%s", file.faults[i].line,
                      file.faults[i].name);
    environment_file_done(&file);
    return result;
}

TEST(plain_values)
{
    ASSERT_STRING(parsed(""), "");
    ASSERT_STRING(parsed("A=1\nB=two words  \n\n  C = x\t\nD=\nE= \nF=end"),
                  "A=1|B=two words|C=x|D=|E=|F=end");
    ASSERT_STRING(parsed("A=1\r\nB=2\rC=3"), "A=1|B=2|C=3");
    ASSERT_STRING(parsed("A=a=b"), "A=a=b");
    ASSERT_STRING(parsed("A=x # y\nB=$A ${A} `c`"), "A=x # y|B=$A ${A} `c`");
    ASSERT_STRING(parsed("A=a\\ \nB=a\\\nb\nC=a\\tb\\\\\nD= \\ x"), "A=a |B=ab|C=atb\\|D= x");
    ASSERT_STRING(parsed("A=it's \"x\"\n"), "A=it's \"x\"");
    ASSERT_STRING(parsed("A=1\\"), "A=1");
}

TEST(quoted_values)
{
    ASSERT_STRING(parsed("A='a b '\nB=\"c d \"  \n"), "A=a b |B=c d ");
    ASSERT_STRING(parsed("A='a\nb'\nB=\"c\nd\"\n"), "A=a\nb|B=c\nd");
    ASSERT_STRING(parsed("A='a\\'\nB=\"\\\"\\\\\\`\\$\\a\\\nb\"\n"), "A=a\\|B=\"\\`$\\ab");
    ASSERT_STRING(parsed("A='a'\"b\" 'c' d 'e'\n"), "A=abcd 'e'");
    ASSERT_STRING(parsed("A='open\nB=2"), "A=open\nB=2");
    ASSERT_STRING(parsed("A=\"open\\"), "A=open");
}

TEST(comments)
{
    ASSERT_STRING(parsed("# a=1\n ; b=2\nC=3\n#"), "C=3");
    ASSERT_STRING(parsed("# a \\\nB=2\nC=3"), "C=3");
    ASSERT_STRING(parsed("no assignment\nA=1\nnor this"), "A=1");
}

TEST(repeated_names)
{
    ASSERT_STRING(parsed("A=1\nB=2\nA=3\nAB=4\nB=5\nA=6"), "A=6|B=5|AB=4");
}

TEST(faults)
{
    ASSERT_STRING(parsed("A=1\n\n1B=2\nexport C=3\nD-E=4\n=x=5\n"),
                  "A=1!3:1B!4:export C!5:D-E!6:=x");
    ASSERT_STRING(parsed("A='x\ny'\n\xc3\xa9=1"), "A=x\ny!3:\xc3\xa9");
    ASSERT_STRING(parsed("A=1\nB=\xff\n"), "EILSEQ@2");
    struct environment_file file;
    unsigned line;
    ASSERT_ERROR(environment_file_parse("A=1\nB=\0", 7, &file, &line), -EBADMSG);
    ASSERT_INT(line, 2);
}

TEST(many_variables_take_no_quadratic_time)
{
    const size_t n = 200000;
    cleanup_free char *text = malloc(n * 16);
    struct environment_file file;
    size_t length = 0;

    ASSERT(text);
    for (size_t i = 0; i < n; i++)
        length += (size_t)sprintf(text + length, "V%zu=%zu\n", i % (n / 2), i);
    ASSERT_OK(environment_file_parse(text, length, &file, NULL));
    ASSERT_INT(file.variables.n, n / 2);
    ASSERT_STRING(file.variables.items[0], "V0=100000");
    environment_file_done(&file);
    for (size_t i = 0; i < 1000; i++)
        memcpy(text + 5 * i, "1X=1\n", 5);
    ASSERT_OK(environment_file_parse(text, 5000, &file, NULL));
    ASSERT_INT(file.n_faults, ENVIRONMENT_FILE_FAULT_MAX);
    environment_file_done(&file);
}

TEST(files)
{
    char template[] = "/tmp/hark-environment-XXXXXX", fifo[64];
    cleanup_close int fd = -1;
    struct environment_file file;

    ASSERT_ERROR(environment_file_load("/nonexistent", &file, NULL), -ENOENT);
    ASSERT_ERROR(environment_file_load("/", &file, NULL), -EISDIR);
    ASSERT_ERROR(environment_file_load("/dev/zero", &file, NULL), -EINVAL);
    ASSERT_OK(environment_file_load("/dev/null", &file, NULL));
    ASSERT_INT(file.variables.n, 0);
    environment_file_done(&file);
    fd = mkstemp(template);
    ASSERT_CALL(fd);
    ASSERT_INT(write(fd, "A=1\n", 4), 4);
    ASSERT_OK(environment_file_load(template, &file, NULL));
    ASSERT_STRING(file.variables.items[0], "A=1");
    environment_file_done(&file);
    ASSERT_CALL(ftruncate(fd, ENVIRONMENT_FILE_MAX + 1));
    ASSERT_ERROR(environment_file_load(template, &file, NULL), -EFBIG);
    ASSERT_CALL(unlink(template));
    snprintf(fifo, sizeof(fifo), "%s.fifo", template);
    ASSERT_CALL(mkfifo(fifo, 0600));
    ASSERT_ERROR(environment_file_load(fifo, &file, NULL), -EINVAL);
    ASSERT_CALL(unlink(fifo));
}
