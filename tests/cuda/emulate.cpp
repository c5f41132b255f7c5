// `kernels.cu` as a library for the processor: `launch(name, grid x, grid y, arguments)`.
#include <string.h>

#include "processor.h"
// After the names that it uses.
#include "../../host-train/src/network/cuda/kernels.cu"

struct Entry {
    const char *name;
    void (*run)(Dim, unsigned, void **);
};
#define PLAIN(name) {#name, processor::Launch<name, false>::run}
#define BARRIERS(name) {#name, processor::Launch<name, true>::run}
static const Entry ENTRIES[] = {
    BARRIERS(norm_sums),        BARRIERS(norm_finish),      PLAIN(norm_fixed),
    PLAIN(norm_apply),          BARRIERS(norm_grad_sums),   BARRIERS(norm_grad_finish),
    PLAIN(norm_grad_apply),     PLAIN(bias_add),            BARRIERS(bias_grad_sums),
    BARRIERS(bias_grad_finish), PLAIN(max_pool),            PLAIN(max_pool_grad),
    BARRIERS(global_max),       BARRIERS(global_max_grad),  PLAIN(joint),
    PLAIN(joint_grad_deep),     PLAIN(joint_grad_skip),     BARRIERS(loss_sums),
    BARRIERS(loss_finish),      PLAIN(loss_grad),           PLAIN(adam),
    PLAIN(to_bf16),             PLAIN(from_bf16),           PLAIN(show),
};

// 0, or 1 where there is no such kernel.
extern "C" int launch(const char *name, unsigned x, unsigned y, void **arguments) {
    for (const Entry &entry : ENTRIES) {
        if (strcmp(entry.name, name) == 0) {
            entry.run({x, y, 1}, THREADS, arguments);
            return 0;
        }
    }
    return 1;
}
