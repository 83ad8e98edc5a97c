#include "agent.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct command {
  pid_t pid; /* 0: free */
  uint32_t id;
  int terminal, in, out, err; /* with a terminal, in and out are its master and err is -1 */
  int input_ends;
  uint32_t input_at, input_length;
  uint8_t input[MAX_INPUT];
};

static struct command commands[MAX_COMMANDS];

static struct command *find(uint32_t id) {
  for (int i = 0; i < MAX_COMMANDS; i++)
    if (commands[i].pid != 0 && commands[i].id == id) return &commands[i];
  return NULL;
}

static void close_if_open(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* The strings of a RUN frame, each with its NUL inside the frame. */
static int take_strings(const uint8_t **at, const uint8_t *end, char **strings, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    const uint8_t *nul = memchr(*at, 0, (size_t)(end - *at));
    if (!nul) return 0;
    strings[i] = (char *)(uintptr_t)*at;
    *at = nul + 1;
  }
  strings[count] = NULL;
  return 1;
}

struct request {
  uint32_t flags;
  uint16_t rows, columns, argc, envc;
};

static int open_terminal(const struct request *request, int *slave) {
  char path[64];
  struct winsize size = {.ws_row = request->rows, .ws_col = request->columns};
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0 || unlockpt(master) < 0 || ptsname_r(master, path, sizeof path) != 0) return -1;
  ioctl(master, TIOCSWINSZ, &size);
  *slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
  return *slave < 0 ? -1 : master;
}

static void become(char *cwd, char **argv, char **env, int terminal, const int *ends, int report) {
  sigset_t none;
  sigemptyset(&none);
  setsid();
  if (terminal) ioctl(ends[0], TIOCSCTTY, 0);
  for (int fd = 0; fd < 3; fd++) dup2(ends[fd], fd);
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (chdir(cwd) == 0) {
    environ = env;
    execvp(argv[0], argv);
  }
  int error = errno;
  if (write(report, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

/* Runs it; returns an error number or 0. */
static int launch(struct command *c, const struct request *request, char *cwd, char **argv, char **env) {
  int pipes[4][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}}; /* input, output, errors, report of a failed exec */
  int slave = -1, error = 0;
  c->in = c->out = c->err = -1;
  c->terminal = (request->flags & RUN_TERMINAL) != 0;
  for (int i = c->terminal ? 3 : 0; i < 4 && !error; i++)
    if (pipe2(pipes[i], O_CLOEXEC) < 0) error = errno;
  if (!error && c->terminal) {
    c->out = open_terminal(request, &slave);
    c->in = c->out < 0 ? -1 : fcntl(c->out, F_DUPFD_CLOEXEC, 3);
    if (c->in < 0) error = errno;
  }
  const int ends[3] = {c->terminal ? slave : pipes[0][0], c->terminal ? slave : pipes[1][1],
                       c->terminal ? slave : pipes[2][1]};
  pid_t pid = error ? -1 : fork();
  if (pid == 0) become(cwd, argv, env, c->terminal, ends, pipes[3][1]);
  if (pid < 0 && !error) error = errno;
  if (!c->terminal) {
    c->in = pipes[0][1];
    c->out = pipes[1][0];
    c->err = pipes[2][0];
    close_if_open(&pipes[0][0]);
    close_if_open(&pipes[1][1]);
    close_if_open(&pipes[2][1]);
  }
  close_if_open(&slave);
  close_if_open(&pipes[3][1]);
  if (!error && read(pipes[3][0], &error, sizeof error) > 0) waitpid(pid, NULL, 0);
  close_if_open(&pipes[3][0]);
  if (error) {
    close_if_open(&c->in);
    close_if_open(&c->out);
    close_if_open(&c->err);
    return error;
  }
  for (int i = 0; i < 3; i++) {
    int fd = i == 0 ? c->in : i == 1 ? c->out : c->err;
    if (fd >= 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  }
  c->pid = pid;
  return 0;
}

void start_command(int port, uint32_t id, const uint8_t *bytes, uint32_t length) {
  static char *argv[1025], *env[1025];
  struct request request;
  char *cwd[2];
  struct command *c = NULL;
  uint32_t error = EINVAL;
  for (int i = 0; i < MAX_COMMANDS && !c; i++)
    if (commands[i].pid == 0) c = &commands[i];
  if (!c || find(id)) {
    error = c ? EEXIST : EAGAIN;
    send_frame(port, FRAME_FAILED, id, &error, sizeof error);
    return;
  }
  if (length >= sizeof request) {
    const uint8_t *at = bytes + sizeof request;
    memcpy(&request, bytes, sizeof request);
    if (request.argc > 0 && request.argc <= 1024 && request.envc <= 1024 &&
        take_strings(&at, bytes + length, cwd, 1) && take_strings(&at, bytes + length, argv, request.argc) &&
        take_strings(&at, bytes + length, env, request.envc)) {
      c->id = id;
      c->input_at = c->input_length = 0;
      c->input_ends = 0;
      error = (uint32_t)launch(c, &request, cwd[0], argv, env);
    }
  }
  if (error) send_frame(port, FRAME_FAILED, id, &error, sizeof error);
}

static void write_input(int port, struct command *c) {
  if (c->in < 0) return;
  uint32_t before = c->input_at;
  while (c->input_at < c->input_length) {
    ssize_t n = write(c->in, c->input + c->input_at, c->input_length - c->input_at);
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) { /* it reads no more: what is left is taken as read */
      c->input_at = c->input_length;
      close_if_open(&c->in);
      break;
    }
    c->input_at += (uint32_t)n;
  }
  uint32_t taken = c->input_at - before;
  if (taken) send_frame(port, FRAME_TAKEN, c->id, &taken, sizeof taken);
  if (c->input_at != c->input_length) return;
  c->input_at = c->input_length = 0;
  if (!c->input_ends || c->in < 0) return;
  if (!c->terminal) close_if_open(&c->in);
}

void give_input(int port, uint32_t id, const uint8_t *bytes, uint32_t length) {
  struct command *c = find(id);
  if (!c) return;
  if (length == 0) c->input_ends = 1;
  if (c->in < 0) {
    send_frame(port, FRAME_TAKEN, id, &length, sizeof length);
    return;
  }
  if (c->input_at > 0) {
    memmove(c->input, c->input + c->input_at, c->input_length - c->input_at);
    c->input_length -= c->input_at;
    c->input_at = 0;
  }
  if (length > MAX_INPUT - c->input_length) length = MAX_INPUT - c->input_length; /* the host keeps to its credit */
  memcpy(c->input + c->input_length, bytes, length);
  c->input_length += length;
  write_input(port, c);
}

void signal_command(uint32_t id, const uint8_t *bytes, uint32_t length) {
  struct command *c = find(id);
  uint32_t number;
  if (!c || length != sizeof number) return;
  memcpy(&number, bytes, sizeof number);
  kill(-c->pid, (int)number);
}

void resize_command(uint32_t id, const uint8_t *bytes, uint32_t length) {
  struct command *c = find(id);
  uint16_t size[2];
  if (!c || !c->terminal || c->out < 0 || length != sizeof size) return;
  memcpy(size, bytes, sizeof size);
  struct winsize window = {.ws_row = size[0], .ws_col = size[1]};
  ioctl(c->out, TIOCSWINSZ, &window);
}

/* Sends what is there; closes at the end. `all`: until there is nothing more. */
static void pass_on(int port, const struct command *c, int *fd, uint32_t kind, int all) {
  static uint8_t bytes[32768];
  while (*fd >= 0) {
    ssize_t n = read(*fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      close_if_open(fd);
      return;
    }
    send_frame(port, kind, c->id, bytes, (uint32_t)n);
    if (!all) return;
  }
}

unsigned watch_commands(struct pollfd *entries) {
  unsigned count = 0;
  for (int i = 0; i < MAX_COMMANDS; i++) {
    const struct command *c = &commands[i];
    if (c->pid == 0) continue;
    if (c->in >= 0 && c->input_at < c->input_length) entries[count++] = (struct pollfd){c->in, POLLOUT, 0};
    if (c->out >= 0) entries[count++] = (struct pollfd){c->out, POLLIN, 0};
    if (c->err >= 0) entries[count++] = (struct pollfd){c->err, POLLIN, 0};
  }
  return count;
}

void serve_commands(int port, const struct pollfd *entries, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    if (entries[i].revents == 0) continue;
    for (int k = 0; k < MAX_COMMANDS; k++) {
      struct command *c = &commands[k];
      if (c->pid == 0) continue;
      if (entries[i].fd == c->in)
        write_input(port, c);
      else if (entries[i].fd == c->out)
        pass_on(port, c, &c->out, FRAME_OUTPUT, 0);
      else if (entries[i].fd == c->err)
        pass_on(port, c, &c->err, FRAME_ERROR, 0);
    }
  }
}

/* What is still in its pipes is sent before its end; what its descendants write afterwards is not waited for. */
void reap_commands(int port) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    for (int i = 0; i < MAX_COMMANDS; i++) {
      struct command *c = &commands[i];
      if (c->pid != pid) continue;
      pass_on(port, c, &c->out, FRAME_OUTPUT, 1);
      pass_on(port, c, &c->err, FRAME_ERROR, 1);
      close_if_open(&c->in);
      close_if_open(&c->out);
      close_if_open(&c->err);
      uint32_t word = (uint32_t)status;
      c->pid = 0;
      send_frame(port, FRAME_EXIT, c->id, &word, sizeof word);
    }
  }
}
