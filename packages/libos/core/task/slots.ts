/** Threads of one enclave: the native half's LIBOS_THREADS but for the slot of attend.c. */
export const MAX_THREADS = 63;
