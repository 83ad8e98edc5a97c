/* errno of the thread: what OCALLs with propagate_errno leave, in the host's numbers. */
#ifndef NSGX_LIBC_ERRNO_H
#define NSGX_LIBC_ERRNO_H
int *nsgx_errno(void);
#define errno (*nsgx_errno())
#endif
