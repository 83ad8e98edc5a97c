/* Terminals. With one argument: makes a pseudo-terminal, says its name, and types into it: "line\n" at once, "raw" once its
 * modes are raw, "more" later. Without: what a program finds out about its terminal and does to it. */
#include "check.h"

#include <sys/ioctl.h>
#include <termios.h>

static int type(void) {
    struct termios modes;
    struct winsize size = {24, 80, 0, 0};
    int master = posix_openpt(O_RDWR | O_NOCTTY), keep;
    grantpt(master);
    unlockpt(master);
    printf("%s\n", ptsname(master));
    fflush(stdout);
    keep = open(ptsname(master), O_RDWR | O_NOCTTY);
    ioctl(keep, TIOCSWINSZ, &size);
    write(master, "line\n", 5);
    for (;;) {
        while (tcgetattr(master, &modes) == 0 && (modes.c_lflag & ICANON) != 0) usleep(10000);
        usleep(100000);
        write(master, "raw", 3);
        usleep(600000);
        write(master, "more", 4);
        while (tcgetattr(master, &modes) == 0 && (modes.c_lflag & ICANON) == 0) usleep(10000);
        write(master, "line\n", 5);
    }
}

static void show(const char *what, int fd) {
    struct termios m;
    if (tcgetattr(fd, &m) < 0) {
        printf("%s: %s\n", what, strerrorname_np(errno));
        return;
    }
    printf("%s: %x %x %x %x min %d time %d intr %d\n", what, m.c_iflag, m.c_oflag, m.c_cflag, m.c_lflag, m.c_cc[VMIN], m.c_cc[VTIME], m.c_cc[VINTR]);
}

static int reads(int count) {
    char text[64];
    int total = 0;
    while (total < count) {
        ssize_t got = read(0, text, sizeof text);
        if (got <= 0) return -1;
        total += (int)got;
    }
    return total;
}

int main(int argc, char **argv) {
    struct termios modes, raw;
    struct winsize size;
    char text[64];
    if (argc > 1) return type();
    SHOW(isatty(0));
    SHOW(isatty(1));
    SHOW(isatty(77));
    show("stdin", 0);
    show("stdout", 1);
    SHOW(tcsetattr(1, TCSANOW, &modes));
    SHOW(ioctl(0, TIOCGWINSZ, &size) == 0 ? size.ws_row * 1000 + size.ws_col : -1);
    SHOW(ioctl(1, TIOCGWINSZ, &size));
    SHOW(read(0, text, sizeof text));
    SHOW(memcmp(text, "line\n", 5));
    SHOW(tcgetattr(0, &modes));
    raw = modes;
    cfmakeraw(&raw);
    SHOW(tcsetattr(0, TCSADRAIN, &raw));
    show("raw", 0);
    SHOW(reads(3));
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 2;
    SHOW(tcsetattr(0, TCSANOW, &raw));
    SHOW(read(0, text, sizeof text));
    raw.c_cc[VTIME] = 0;
    SHOW(tcsetattr(0, TCSANOW, &raw));
    SHOW(read(0, text, sizeof text));
    raw.c_cc[VMIN] = 1;
    SHOW(tcsetattr(0, TCSANOW, &raw));
    struct pollfd polled = {0, POLLIN, 0};
    SHOW(poll(&polled, 1, 5000));
    SHOW(reads(4));
    SHOW(tcflush(0, TCIOFLUSH));
    SHOW(tcdrain(0));
    SHOW(ioctl(0, FIONREAD, text) == 0 ? *(int *)text : -1);
    SHOW(fcntl(0, F_SETFL, O_RDWR | O_NONBLOCK));
    SHOW(read(0, text, sizeof text));
    SHOW(fcntl(0, F_SETFL, O_RDWR));
    /* What is typed in the end is raw, and stays so. */
    return 0;
}
