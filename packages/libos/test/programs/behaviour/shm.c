/* Shared memory of System V: segments by key and without, attached, told of, removed. */
#include "../check.h"
#include <sys/ipc.h>
#include <sys/shm.h>

static long attached(void *at) { return at == (void *)-1 ? -1 : 0; }

int main(void) {
    struct shmid_ds status;
    key_t key = 0x4e534758;
    int old = shmget(key, 0, 0);
    if (old >= 0) shmctl(old, IPC_RMID, NULL);

    SHOW(shmget(key, 8192, 0600));
    SHOW(shmget(key, 0, IPC_CREAT | 0600));
    int id = shmget(key, 10000, IPC_CREAT | IPC_EXCL | 0640);
    SHOW(id >= 0);
    SHOW(shmget(key, 10000, IPC_CREAT | IPC_EXCL | 0640));
    SHOW(shmget(key, 100, 0) == id);
    SHOW(shmget(key, 20000, 0));
    SHOW(shmctl(id, IPC_STAT, &status));
    printf("%zu %o %ld %d\n", status.shm_segsz, status.shm_perm.mode, (long)status.shm_nattch,
           status.shm_cpid == getpid());
    SHOW(shmctl(id, IPC_STAT, (void *)8));
    SHOW(shmctl(-1, IPC_STAT, &status));
    SHOW(shmctl(id, 77, &status));
    SHOW(attached(shmat(-1, NULL, 0)));
    SHOW(attached(shmat(id, (void *)12345, 0)));
    char *a = shmat(id, NULL, 0);
    SHOW(attached(a));
    SHOW(a[0] + a[9999]);
    strcpy(a, "shared");
    char *b = shmat(id, NULL, 0);
    SHOW(attached(b));
    puts(b);
    b[1] = 'H';
    puts(a);
    SHOW(shmctl(id, IPC_STAT, &status));
    SHOW(status.shm_nattch);
    SHOW(shmctl(id, IPC_RMID, NULL));
    SHOW(shmget(key, 100, 0));
    SHOW(shmctl(id, IPC_STAT, &status));
    SHOW(status.shm_perm.mode & 01000 ? 1 : 0);
    puts(a);
    SHOW(shmdt(a));
    SHOW(shmdt(b));
    SHOW(shmdt(b));
    SHOW(shmdt((void *)4096));
    SHOW(shmctl(id, IPC_STAT, &status));
    int other = shmget(IPC_PRIVATE, 1 << 20, 0600);
    char *c = shmat(other, NULL, 0);
    SHOW(c[(1 << 20) - 1]);
    SHOW(shmctl(other, IPC_RMID, NULL));
    SHOW(shmdt(c));
    return 0;
}
