/* What a host's policy may refuse (net.test.ts). */
#include "check.h"
#include <arpa/inet.h>
#include <sys/socket.h>

#define TELL(what, expression)                                                       \
    do {                                                                             \
        errno = 0;                                                                   \
        long value_ = (expression);                                                  \
        printf("%s %ld %s\n", what, value_, value_ < 0 ? strerrorname_np(errno) : ""); \
    } while (0)

int main(void) {
    struct sockaddr_in any = {AF_INET, 0, {htonl(INADDR_ANY)}, {0}};
    struct sockaddr_in loopback = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    struct sockaddr_in far = {AF_INET, htons(9), {inet_addr("192.0.2.1")}, {0}};
    int fd, one = 1, udp;
    TELL("socket", fd = socket(AF_INET, SOCK_STREAM, 0));
    if (fd < 0) return 0;
    TELL("raw", socket(AF_INET, SOCK_RAW, 1));
    TELL("bind any", bind(fd, (struct sockaddr *)&any, sizeof any));
    TELL("bind loopback", bind(fd, (struct sockaddr *)&loopback, sizeof loopback));
    TELL("connect", connect(fd, (struct sockaddr *)&far, sizeof far));
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    TELL("sendto", sendto(udp, "x", 1, 0, (struct sockaddr *)&far, sizeof far));
    TELL("mark", setsockopt(fd, SOL_SOCKET, 36, &one, sizeof one));
    close(fd);
    TELL("beyond", send(fd, "x", 1, 0));
    return 0;
}
