/* Advisory locks of whole files. */
#include "nsgx_os.h"
#include <sys/file.h>

/* Takes a lock without waiting: -EWOULDBLOCK when another open description holds one that does not go with it. */
EXPORT int64_t nsgx_lock_file(int32_t fd, int32_t exclusive) {
  return result(RETRY(flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB)));
}
