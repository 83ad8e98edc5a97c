/* Built twice: as a program that opens a library at run time, and with -DLIBRARY as that library. */
#include "check.h"
#include <dlfcn.h>

#ifdef LIBRARY
static int calls;
int plugin(int value) { return value * 6 + calls++; }
#else
int main(int argc, char **argv) {
    void *library = dlopen(argv[argc - 1], RTLD_NOW);
    if (library == NULL) return 1;
    int (*plugin)(int) = (int (*)(int))dlsym(library, "plugin");
    SHOW(plugin(7));
    SHOW(plugin(7));
    SHOW(dlclose(library));
    return 0;
}
#endif
