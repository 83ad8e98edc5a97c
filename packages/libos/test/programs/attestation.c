/* /dev/attestation: what its files read, take and refuse. With arguments: writes each one's file to stdout. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define AT "/dev/attestation/"

static unsigned char bytes[65536];

static const char *why(long result) { return result >= 0 ? "" : strerrorname_np(errno); }

static long get(const char *path) {
    char name[200];
    snprintf(name, sizeof name, AT "%s", path);
    int fd = open(name, O_RDONLY);
    if (fd < 0) return -1;
    long all = 0, got;
    /* In pieces, as an opened file stays what it was. */
    while ((got = read(fd, bytes + all, 700)) > 0) all += got;
    close(fd);
    return got < 0 ? got : all;
}

static long put(const char *path, const void *data, size_t length, int flags) {
    char name[200];
    snprintf(name, sizeof name, AT "%s", path);
    int fd = open(name, O_WRONLY | flags, 0600);
    if (fd < 0) return -1;
    long result = write(fd, data, length);
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

static void say(const char *what, long result) { printf("%s: %ld %s\n", what, result, why(result)); }

static void hex(const char *what, const unsigned char *from, int length) {
    printf("%s ", what);
    for (int i = 0; i < length; i++) printf("%02x", from[i]);
    puts("");
}

int main(int argc, char **argv) {
    unsigned char data[80], target[512], first[16];
    for (int i = 1; i < argc; i++) {
        long length = get(argv[i]);
        if (length < 0) return 1;
        fwrite(bytes, 1, (size_t)length, stdout);
    }
    if (argc > 1) return 0;
    for (int i = 0; i < 80; i++) data[i] = (unsigned char)(i + 1);
    say("type", get("attestation_type"));
    printf("%s\n", (char *)bytes);
    say("short data", put("user_report_data", "abc", 3, 0));
    say("report", get("report"));
    hex("data", bytes + 320, 64);
    say("long data", put("user_report_data", data, 80, O_TRUNC));
    say("own target", get("my_target_info"));
    memcpy(target, bytes, 512);
    hex("measurement", target, 32);
    say("target", put("target_info", target, 512, 0));
    say("report", get("report"));
    hex("data", bytes + 320, 64);
    hex("measurement", bytes + 64, 32);
    say("quote", get("quote") > 2000);
    hex("data", bytes + 48 + 320, 64);
    say("write of quote", put("quote", "a", 1, 0));
    say("write of a sealing key", put("keys/_sgx_mrenclave", data, 16, 0));
    say("sealing key", get("keys/_sgx_mrenclave"));
    memcpy(first, bytes, 16);
    say("sealing key", get("keys/_sgx_mrsigner"));
    printf("keys differ: %d\n", memcmp(first, bytes, 16) != 0);
    say("default key", get("keys/default"));
    say("short key", put("keys/default", data, 15, 0));
    say("key", put("keys/default", data, 16, 0));
    say("key", get("keys/default"));
    say("other key, not made", put("keys/other", data, 32, 0));
    say("other key", put("keys/other", data, 32, O_CREAT | O_EXCL));
    say("other key again", put("keys/other", data, 32, O_CREAT | O_EXCL));
    say("other key", get("keys/other"));
    printf("as written: %d\n", memcmp(bytes, data, 32) == 0);
    say("truncate", truncate(AT "keys/other", 0));
    say("unlink", unlink(AT "keys/other"));
    say("other file", put("file", data, 1, O_CREAT));
    int from = open("/tmp/data", O_RDWR | O_CREAT, 0600), to = open(AT "user_report_data", O_WRONLY);
    write(from, data, 64);
    lseek(from, 0, SEEK_SET);
    say("sendfile", sendfile(to, from, NULL, 64));
    say("copy_file_range", copy_file_range(from, NULL, to, NULL, 64, 0));
    say("two writes", write(to, "ab", 2) + write(to, "cd", 2));
    say("report", get("report"));
    hex("data", bytes + 320, 8);
    say("certificate", get("tls/cert.pem") > 3000);
    struct stat s;
    say("stat", stat(AT "tls/key.pem", &s));
    printf("%o %d\n", s.st_mode & 07777, (int)s.st_size);
    return 0;
}
