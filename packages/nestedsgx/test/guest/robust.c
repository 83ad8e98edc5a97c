/*
 * What an operating system does to applications while threads are inside their enclaves: signals, fork, exec, exit, kill,
 * unmapping. Prints one line for each.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define main application
#include "enclave.c"
#undef main

/* The enclave counts up `spins` until `stop` is set. */
static volatile uint64_t spins, stop;
static volatile sig_atomic_t handled;

static void on_signal(int signal) {
  (void)signal;
  handled++;
}

static void *inside(void *outcome) {
  *(struct outcome *)outcome = enter(OP_HAMMER, (uint64_t)&spins, (uint64_t)&stop, 0, 0);
  return NULL;
}

static pthread_t begin(struct outcome *outcome) {
  pthread_t thread;
  spins = stop = 0;
  check(pthread_create(&thread, NULL, inside, outcome) == 0, "thread");
  while (!spins) usleep(100);
  return thread;
}

static void signals(void) {
  struct outcome outcome;
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &action, NULL);
  pthread_t thread = begin(&outcome);
  for (int i = 0; i < 10000 && handled < 20; i++) {
    pthread_kill(thread, SIGUSR1);
    usleep(1000);
  }
  uint64_t before = spins;
  usleep(50000);
  printf("signals: %s handled, the enclave %s\n", handled >= 20 ? "many" : "few", spins != before ? "goes on" : "stands");
  stop = 1;
  pthread_join(thread, NULL);
  tell("its call", outcome);
}

static void family(void) {
  volatile uint64_t *word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int status;
  enter(OP_WRITE, (uint64_t)word, 1, 0, 0);
  pid_t child = fork();
  if (!child) {
    usleep(50000);
    struct outcome outcome = enter(OP_READ, (uint64_t)word, 0, 0, 0);
    _exit(word[0] == 1 && outcome.run.function != 4 ? 0 : 1);
  }
  enter(OP_WRITE, (uint64_t)word, 2, 0, 0);
  waitpid(child, &status, 0);
  printf("fork: the parent has %lu, the child %s\n", (unsigned long)word[0], status ? "its page or its enclave" : "a copy of memory alone");
}

/* A child with a thread inside an enclave of its own ends in one of the ways that there are. */
static void ends(const char *path, char how) {
  int status;
  pid_t child = fork();
  if (!child) {
    struct outcome outcome;
    load(path);
    begin(&outcome);
    if (how == 'e') execl("/bin/true", "true", (char *)NULL);
    if (how == 'k') raise(SIGKILL);
    _exit(0);
  }
  waitpid(child, &status, 0);
  printf("%s with a thread inside: %d\n", how == 'e' ? "exec" : how == 'k' ? "kill" : "exit", status);
}

static void unmapped(void) {
  struct outcome outcome;
  pthread_t thread = begin(&outcome);
  munmap((void *)base, image.size);
  for (int fd = 3; fd < 64; fd++) close(fd);
  pthread_join(thread, NULL);
  printf("unmapped: vector %u error 0x%x\n", outcome.run.vector, outcome.run.error_code);
}

int main(int argc, char **argv) {
  check(argc == 2, "usage: robust IMAGE");
  setvbuf(stdout, NULL, _IONBF, 0);
  vdso = nsgx_sgx_vdso();
  load(argv[1]);
  signals();
  family();
  ends(argv[1], 'e');
  ends(argv[1], 'k');
  ends(argv[1], 'x');
  /* Who holds an enclave holds the module. */
  printf("unloading: %s\n", WEXITSTATUS(system("rmmod nsgx 2>/dev/null")) ? "refused" : "done");
  unmapped();
  return 0;
}
