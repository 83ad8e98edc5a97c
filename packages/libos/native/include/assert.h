/* wasm2c includes it for one check of its own that always holds. */
#define assert(condition) ((void)(condition))
