#include "agent.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MODULES "/.nsgx/modules"
#define PORTS "/sys/class/virtio-ports"

static void mount_at(const char *type, const char *path) {
  mkdir(path, 0755);
  mount(type, path, type, 0, NULL);
}

static void loopback_up(void) {
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  ioctl(fd, SIOCSIFFLAGS, &request);
  close(fd);
}

static int load_module(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  int error = syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST ? errno : 0;
  close(fd);
  return error;
}

/* Their names begin with a number that says the order: each comes behind what it needs. */
static void load_modules(char *report, size_t size) {
  struct dirent **entries;
  size_t used = 0;
  int count = scandir(MODULES, &entries, NULL, alphasort);
  for (int i = 0; i < count; i++) {
    char path[sizeof MODULES + sizeof entries[i]->d_name + 1];
    if (entries[i]->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", MODULES, entries[i]->d_name);
    int error = load_module(path);
    if (error == 0) continue;
    fprintf(stderr, "nsgx: %s does not load: %s\n", entries[i]->d_name, strerror(error));
    int n = snprintf(report + used, size - used, "%s: %s\n", entries[i]->d_name, strerror(error));
    if (n > 0 && used + (size_t)n < size) used += (size_t)n;
  }
}

void set_up(char *report, size_t size) {
  report[0] = 0;
  mount_at("proc", "/proc");
  mount_at("sysfs", "/sys");
  mount_at("devtmpfs", "/dev");
  mount_at("devpts", "/dev/pts");
  mount_at("tmpfs", "/dev/shm");
  mount_at("tmpfs", "/run");
  mount_at("debugfs", "/sys/kernel/debug");
  chmod("/", 0755);
  mkdir("/tmp", 01777);
  chmod("/tmp", 01777);
  mkdir("/root", 0700);
  symlink("/proc/self/fd", "/dev/fd");
  symlink("/proc/self/fd/0", "/dev/stdin");
  symlink("/proc/self/fd/1", "/dev/stdout");
  symlink("/proc/self/fd/2", "/dev/stderr");
  sethostname("guest", 5);
  loopback_up();
  load_modules(report, size);
}

static int find_port(const char *wanted, char *path, size_t size) {
  DIR *ports = opendir(PORTS);
  int found = 0;
  if (!ports) return 0;
  for (struct dirent *entry; !found && (entry = readdir(ports));) {
    char file[512], name[64] = "";
    if (entry->d_name[0] == '.') continue;
    snprintf(file, sizeof file, "%s/%s/name", PORTS, entry->d_name);
    FILE *stream = fopen(file, "re");
    if (!stream) continue;
    if (fgets(name, sizeof name, stream)) name[strcspn(name, "\n")] = 0;
    fclose(stream);
    if (strcmp(name, wanted) != 0) continue;
    snprintf(path, size, "/dev/%s", entry->d_name);
    found = 1;
  }
  closedir(ports);
  return found;
}

int open_port(const char *name, int ms) {
  const struct timespec pause = {0, 2000000};
  for (int waited = 0; waited < ms; waited += 2) {
    char path[512];
    if (find_port(name, path, sizeof path)) {
      int fd = open(path, O_RDWR | O_CLOEXEC);
      if (fd >= 0) return fd;
    }
    nanosleep(&pause, NULL);
  }
  return -1;
}
