// CUDA's language on the processor: enough to compile `kernels.cu` as C++ and run a grid.
//
// The threads of a block are fibres that take turns: each runs until it meets __syncthreads(), then
// the next. That is a barrier, and all a kernel may rely on. Blocks run one after the other, so a
// `__shared__` variable is one static variable.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <vector>

#define __global__
#define __device__ static inline
#define __shared__ static
struct Dim {
    unsigned x, y, z;
};
static Dim gridDim, blockDim, blockIdx, threadIdx;
static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }

namespace processor {

static ucontext_t scheduler;
static std::vector<ucontext_t> fibres;
static std::vector<char> done;
static unsigned current;
static const std::function<void()> *body;

static const size_t STACK = 64 * 1024;

static void enter() {
    (*body)();
    done[current] = 1;
    swapcontext(&fibres[current], &scheduler);
}

// Whether the threads of the running kernel are fibres.
static bool taking_turns;

static void barrier() {
    if (!taking_turns) {
        fprintf(stderr, "a kernel that was said to have no barrier has one\n");
        abort();
    }
    swapcontext(&fibres[current], &scheduler);
}

// A kernel without barriers needs no fibres.
static void run_plain(Dim grid, unsigned threads, const std::function<void()> &kernel) {
    taking_turns = false;
    gridDim = grid;
    blockDim = {threads, 1, 1};
    for (unsigned block = 0; block < grid.x * grid.y; ++block) {
        blockIdx = {block % grid.x, block / grid.x, 0};
        for (unsigned t = 0; t < threads; ++t) {
            threadIdx = {t, 0, 0};
            kernel();
        }
    }
}

// Runs `kernel` for every thread of every block.
static void run(Dim grid, unsigned threads, const std::function<void()> &kernel) {
    static std::vector<char> stacks;
    stacks.resize(threads * STACK);
    fibres.resize(threads);
    taking_turns = true;
    body = &kernel;
    gridDim = grid;
    blockDim = {threads, 1, 1};
    for (unsigned block = 0; block < grid.x * grid.y; ++block) {
        blockIdx = {block % grid.x, block / grid.x, 0};
        done.assign(threads, 0);
        for (unsigned t = 0; t < threads; ++t) {
            getcontext(&fibres[t]);
            fibres[t].uc_stack.ss_sp = &stacks[t * STACK];
            fibres[t].uc_stack.ss_size = STACK;
            fibres[t].uc_link = nullptr;
            makecontext(&fibres[t], enter, 0);
        }
        for (unsigned left = threads; left > 0;) {
            unsigned ended = 0;
            for (current = 0; current < threads; ++current) {
                if (done[current]) continue;
                threadIdx = {current, 0, 0};
                swapcontext(&scheduler, &fibres[current]);
                ended += done[current];
            }
            // A barrier that some threads never reach would hang a GPU.
            if (ended != 0 && ended != left) {
                fprintf(stderr, "a barrier was met by %u threads of %u\n", left - ended, left);
                abort();
            }
            left -= ended;
        }
    }
}

// Calls a kernel with arguments given by their addresses, as the driver does.
template <auto Kernel, bool Barriers>
struct Launch;
template <class... A, void (*Kernel)(A...), bool Barriers>
struct Launch<Kernel, Barriers> {
    template <size_t... I>
    static void call(void **arguments, std::index_sequence<I...>) {
        Kernel(*(A *)arguments[I]...);
    }

    static void run(Dim grid, unsigned threads, void **arguments) {
        auto thread = [=] { call(arguments, std::make_index_sequence<sizeof...(A)>{}); };
        if (Barriers) {
            processor::run(grid, threads, thread);
        } else {
            run_plain(grid, threads, thread);
        }
    }
};

}  // namespace processor

#define __syncthreads() processor::barrier()
