/* What a thread's data must hold beyond what the image gives. */
#include "runtime.h"

/* Thread data come complete with an SGXS image; in Intel's format all threads' pages are alike, and they are filled
 * here. The exception stack comes last: exceptions are refused as long as it is missing. */
void nsgx_thread_start(struct thread_data *thread) {
    if (thread->exception_stack != 0) return;
    uint64_t data = (uint64_t)thread - (uint64_t)__image_base;
    memcpy(__image_base + data - nsgx_layout.locals_size, __image_base + nsgx_layout.locals_image,
           nsgx_layout.locals_image_size);
    thread->index = (uint32_t)((data - nsgx_layout.first_thread) / nsgx_layout.thread_stride);
    thread->next_stack = thread->stack_top = data - nsgx_layout.stack_top_below;
    thread->stack_low = data - nsgx_layout.stack_low_below;
    thread->ssa = data - nsgx_layout.ssa_below;
    __atomic_store_n(&thread->exception_stack, data - nsgx_layout.exception_stack_below, __ATOMIC_RELEASE);
}
