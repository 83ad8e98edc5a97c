#include "agent.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define PORT_WAIT_MS 10000

static uint32_t uptime_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (uint32_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static void say_ready(int port, const char *report) {
  uint8_t bytes[8 + 4096];
  uint32_t head[2] = {AGENT_VERSION, uptime_ms()};
  size_t length = strnlen(report, 4096);
  memcpy(bytes, head, sizeof head);
  memcpy(bytes + sizeof head, report, length);
  send_frame(port, FRAME_READY, 0, bytes, (uint32_t)(sizeof head + length));
}

static void power_off(void) {
  sync();
  reboot(RB_POWER_OFF);
}

static int serve_frame(int port) {
  static uint8_t bytes[MAX_FRAME];
  struct frame frame;
  if (!receive_frame(port, &frame, bytes)) return 0;
  switch (frame.kind) {
    case FRAME_RUN:
      start_command(port, frame.command, bytes, frame.length);
      break;
    case FRAME_INPUT:
      give_input(port, frame.command, bytes, frame.length);
      break;
    case FRAME_SIGNAL:
      signal_command(frame.command, bytes, frame.length);
      break;
    case FRAME_RESIZE:
      resize_command(frame.command, bytes, frame.length);
      break;
    case FRAME_POWER:
      return 0;
  }
  return 1;
}

int main(void) {
  char report[4096];
  sigset_t children;
  set_up(report, sizeof report);
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, NULL);
  signal(SIGPIPE, SIG_IGN);
  int ends = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  int port = open_port("nsgx.agent", PORT_WAIT_MS);
  if (port < 0 || ends < 0) {
    fprintf(stderr, "nsgx: the host's port is not there\n");
    power_off();
  }
  say_ready(port, report);
  for (int going = 1; going;) {
    struct pollfd entries[2 + 3 * MAX_COMMANDS] = {{port, POLLIN, 0}, {ends, POLLIN, 0}};
    unsigned count = watch_commands(entries + 2);
    if (poll(entries, 2 + count, -1) < 0) continue;
    serve_commands(port, entries + 2, count);
    if (entries[1].revents) {
      struct signalfd_siginfo info;
      while (read(ends, &info, sizeof info) > 0) continue;
      reap_commands(port);
    }
    if (entries[0].revents) going = serve_frame(port);
  }
  power_off();
  return 1;
}
