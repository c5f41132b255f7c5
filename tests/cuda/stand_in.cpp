// Stands in for the CUDA driver, NVRTC, cuDNN, cuBLAS, cuRAND and NCCL on a machine without a GPU: device
// memory is host memory, a launch runs the kernel here and now, cuDNN is the definition of a
// convolution. So the program built with `--features cuda` runs as it is, slowly: what is checked is
// every address, count, grid and gradient on the way, not the GPU.
//
// Fresh memory is full of NaN, and what lies behind a buffer must be untouched when it is given back.
// With STAND_IN_COUNT=1 launches, copies and waits are counted and printed at the end.
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <string>

#include "emulate.cpp"

typedef int Status;
typedef void *Handle;

[[noreturn]] static void fail(const std::string &what) {
    fprintf(stderr, "stand-in: %s\n", what.c_str());
    abort();
}

// ------------------------------------------------------------------------------------- counting

static std::map<std::string, uint64_t> counts;
static void count(const std::string &what, uint64_t by = 1) { counts[what] += by; }

struct Report {
    ~Report() {
        if (!getenv("STAND_IN_COUNT")) return;
        for (auto &[what, number] : counts) printf("%12llu %s\n", (unsigned long long)number, what.c_str());
    }
};
static Report report;

// --------------------------------------------------------------------------------------- memory

static const size_t GUARD = 64;
static std::map<uint64_t, size_t> held;

static void check_guard(uint64_t at, size_t bytes) {
    const unsigned char *behind = (const unsigned char *)(at + bytes);
    for (size_t i = 0; i < GUARD; ++i) {
        if (behind[i] != 0xA5) fail("a kernel wrote behind its buffer of " + std::to_string(bytes) + " bytes");
    }
}

extern "C" Status cuMemAlloc_v2(uint64_t *at, size_t bytes) {
    char *memory = (char *)malloc(bytes + GUARD);
    memset(memory, 0xFF, bytes);
    memset(memory + bytes, 0xA5, GUARD);
    *at = (uint64_t)memory;
    held[*at] = bytes;
    return 0;
}
extern "C" Status cuMemAllocAsync(uint64_t *at, size_t bytes, Handle) { return cuMemAlloc_v2(at, bytes); }
extern "C" Status cuMemFree_v2(uint64_t at) {
    auto found = held.find(at);
    if (found == held.end()) fail("given back what was not taken");
    check_guard(at, found->second);
    memset((void *)at, 0xFF, found->second);
    free((void *)at);
    held.erase(found);
    return 0;
}
extern "C" Status cuMemFreeAsync(uint64_t at, Handle) { return cuMemFree_v2(at); }

// The buffer that `bytes` at `at` lie in.
static void inside(uint64_t at, size_t bytes, const char *who) {
    auto next = held.upper_bound(at);
    if (next != held.begin()) {
        auto &[start, size] = *--next;
        if (at + bytes <= start + size) return;
    }
    fail(std::string(who) + ": reaches beyond its buffer");
}

extern "C" Status cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, Handle) {
    inside(to, bytes, "memset");
    memset((void *)to, value, bytes);
    count("memset");
    count("memset, bytes", bytes);
    return 0;
}
extern "C" Status cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, Handle) {
    inside(to, bytes, "host to device");
    memcpy((void *)to, from, bytes);
    count("copy host to device");
    count("copy host to device, bytes", bytes);
    return 0;
}
extern "C" Status cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, Handle) {
    inside(from, bytes, "device to host");
    memcpy(to, (void *)from, bytes);
    count("copy device to host (the host waits)");
    return 0;
}
extern "C" Status cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Handle) {
    inside(to, bytes, "device to device");
    inside(from, bytes, "device to device");
    memcpy((void *)to, (void *)from, bytes);
    count("copy device to device");
    count("copy device to device, bytes", bytes);
    return 0;
}

// --------------------------------------------------------------------------------------- driver

static int thing;
static Status give(Handle *to) {
    *to = &thing;
    return 0;
}
extern "C" Status cuInit(unsigned) { return 0; }
extern "C" Status cuDeviceGet(int *device, int) { return *device = 0, 0; }
extern "C" Status cuDeviceGetAttribute(int *value, int attribute, int) {
    // Compute capability 9.0; memory pools and anything else: yes.
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : 1;
    return 0;
}
extern "C" Status cuDevicePrimaryCtxRetain(Handle *context, int) { return give(context); }
extern "C" Status cuDevicePrimaryCtxRelease_v2(int) { return 0; }
extern "C" Status cuCtxSetCurrent(Handle) { return 0; }
extern "C" Status cuCtxGetCurrent(Handle *context) { return give(context); }
extern "C" Status cuCtxSynchronize() { return count("wait"), 0; }
extern "C" Status cuStreamCreate(Handle *stream, unsigned) { return give(stream); }
extern "C" Status cuStreamDestroy_v2(Handle) { return 0; }
extern "C" Status cuStreamSynchronize(Handle) { return count("wait"), 0; }
extern "C" Status cuStreamWaitEvent(Handle, Handle, unsigned) { return 0; }
extern "C" Status cuEventCreate(Handle *event, unsigned) { return give(event); }
extern "C" Status cuEventDestroy_v2(Handle) { return 0; }
extern "C" Status cuEventRecord(Handle, Handle) { return count("event"), 0; }
extern "C" Status cuDeviceGetDefaultMemPool(Handle *pool, int) { return give(pool); }
extern "C" Status cuMemPoolSetAttribute(Handle, int, void *) { return 0; }
extern "C" Status cuModuleLoadData(Handle *module, const void *) { return give(module); }
extern "C" Status cuModuleUnload(Handle) { return 0; }

// ------------------------------------------------- the tensor library's own kernels, as it has them

template <class T>
static T &at(void **arguments, int i) {
    return *(T *)arguments[i];
}

// Offset of element i of a tensor with these dimensions and strides.
static size_t offset(size_t i, size_t rank, const size_t *dims, const size_t *strides) {
    size_t sum = 0;
    for (size_t d = rank; d-- > 0; i /= dims[d]) sum += i % dims[d] * strides[d];
    return sum;
}

template <class F>
static void binary(void **a, F f) {
    size_t rank = at<size_t>(a, 1), *dims = at<size_t *>(a, 2);
    const float *x = at<const float *>(a, 3), *y = at<const float *>(a, 4);
    for (size_t i = 0; i < at<size_t>(a, 0); ++i) {
        size_t p = dims ? offset(i, rank, dims, dims + rank) : i;
        size_t q = dims ? offset(i, rank, dims, dims + 2 * rank) : i;
        at<float *>(a, 5)[i] = f(x[p], y[q]);
    }
}
static void badd_f32(Dim, unsigned, void **a) {
    binary(a, [](float x, float y) { return x + y; });
}
static void bmul_f32(Dim, unsigned, void **a) {
    binary(a, [](float x, float y) { return x * y; });
}
static void ucopy_f32(Dim, unsigned, void **a) {
    size_t rank = at<size_t>(a, 1), *dims = at<size_t *>(a, 2);
    for (size_t i = 0; i < at<size_t>(a, 0); ++i) {
        at<float *>(a, 4)[i] = at<const float *>(a, 3)[dims ? offset(i, rank, dims, dims + rank) : i];
    }
}
static void usigmoid_f32(Dim, unsigned, void **a) {
    size_t rank = at<size_t>(a, 1), *dims = at<size_t *>(a, 2);
    for (size_t i = 0; i < at<size_t>(a, 0); ++i) {
        float x = at<const float *>(a, 3)[dims ? offset(i, rank, dims, dims + rank) : i];
        at<float *>(a, 4)[i] = 1 / (1 + expf(-x));
    }
}
static void affine_f32(Dim, unsigned, void **a) {
    size_t rank = at<size_t>(a, 1), *dims = at<size_t *>(a, 2);
    for (size_t i = 0; i < at<size_t>(a, 0); ++i) {
        float x = at<const float *>(a, 3)[dims ? offset(i, rank, dims, dims + rank) : i];
        at<float *>(a, 4)[i] = x * at<float>(a, 5) + at<float>(a, 6);
    }
}
static void const_set_f32(Dim, unsigned, void **a) {
    size_t rank = at<size_t>(a, 1), *dims = at<size_t *>(a, 2);
    for (size_t i = 0; i < at<size_t>(a, 0); ++i) {
        at<float *>(a, 4)[dims ? offset(i, rank, dims, dims + rank) : i] = at<float>(a, 3);
    }
}
static void sum(size_t results, void **a) {
    size_t each = at<size_t>(a, 1), rank = at<size_t>(a, 2), *dims = at<size_t *>(a, 3);
    for (size_t i = 0; i < results; ++i) {
        float total = 0;
        for (size_t k = 0; k < each; ++k) {
            total += at<const float *>(a, 4)[offset(i * each + k, rank, dims, dims + rank)];
        }
        at<float *>(a, 5)[i] = total;
    }
}
static void fast_sum_f32(Dim grid, unsigned, void **a) { sum(grid.x, a); }
static void fast_sum_small_f32(Dim, unsigned, void **a) { sum(at<size_t>(a, 0), a); }

static void copy2d_f32(Dim, unsigned, void **a) {
    const float *from = at<const float *>(a, 0);
    uint32 columns = at<uint32>(a, 3), stride = at<uint32>(a, 4), to_stride = at<uint32>(a, 5);
    for (uint32 i = 0; i < at<uint32>(a, 2) * columns; ++i) {
        at<float *>(a, 1)[i / columns * to_stride + i % columns] = from[i / columns * stride + i % columns];
    }
}

#define STOCK(name) {#name, name}
static const Entry STOCKS[] = {STOCK(badd_f32),   STOCK(bmul_f32),      STOCK(ucopy_f32),
                               STOCK(affine_f32), STOCK(usigmoid_f32),  STOCK(const_set_f32),
                               STOCK(copy2d_f32), STOCK(fast_sum_f32),  STOCK(fast_sum_small_f32)};

extern "C" Status cuModuleGetFunction(const Entry **function, Handle, const char *name) {
    for (const Entry &entry : ENTRIES) {
        if (strcmp(entry.name, name) == 0) return *function = &entry, 0;
    }
    for (const Entry &entry : STOCKS) {
        if (strcmp(entry.name, name) == 0) return *function = &entry, 0;
    }
    fail(std::string("no kernel ") + name);
}

extern "C" Status cuLaunchKernel(const Entry *function, unsigned x, unsigned y, unsigned, unsigned threads, unsigned,
                                 unsigned, unsigned, Handle, void **arguments, void **) {
    count(std::string("kernel ") + function->name);
    function->run({x, y, 1}, threads, arguments);
    return 0;
}

// ---------------------------------------------------------------------------------------- NVRTC

static const char PTX[] = "stand-in";
extern "C" Status nvrtcCreateProgram(Handle *program, const char *, const char *, int, const char *const *,
                                     const char *const *) {
    return give(program);
}
extern "C" Status nvrtcCompileProgram(Handle, int, const char *const *) { return 0; }
extern "C" Status nvrtcDestroyProgram(Handle *) { return 0; }
extern "C" Status nvrtcGetPTXSize(Handle, size_t *size) { return *size = sizeof PTX, 0; }
extern "C" Status nvrtcGetPTX(Handle, char *ptx) { return memcpy(ptx, PTX, sizeof PTX), 0; }

// ----------------------------------------------------------------------------- cuBLAS and cuRAND

extern "C" Status cublasCreate_v2(Handle *handle) { return give(handle); }
extern "C" Status cublasDestroy_v2(Handle) { return 0; }
extern "C" Status cublasSetStream_v2(Handle, Handle) { return 0; }
extern "C" Status curandCreateGenerator(Handle *generator, int) { return give(generator); }
extern "C" Status curandSetPseudoRandomGeneratorSeed(Handle, unsigned long long) { return 0; }
extern "C" Status curandSetStream(Handle, Handle) { return 0; }
extern "C" Status curandDestroyGenerator(Handle) { return 0; }

// ---------------------------------------------------------------------------------------- cuDNN

static const int F32 = 0, BF16 = 9;

// Contiguous elements, f32 or bf16.
struct Four {
    int type, size[4];
    size_t elements() const { return (size_t)size[0] * size[1] * size[2] * size[3]; }
    size_t bytes() const { return elements() * (type == BF16 ? sizeof(uint16) : sizeof(float)); }
    double get(const void *from, size_t i) const {
        return type == BF16 ? __uint_as_float((uint32)((const uint16 *)from)[i] << 16) : ((const float *)from)[i];
    }
};
struct Rule {
    int pad, math;
};
struct Result {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};
static const size_t WORKSPACE = 48;

extern "C" Status cudnnCreate(Handle *handle) { return give(handle); }
extern "C" Status cudnnDestroy(Handle) { return 0; }
extern "C" Status cudnnSetStream(Handle, Handle) { return 0; }
extern "C" Status cudnnCreateTensorDescriptor(Four **made) { return *made = new Four(), 0; }
extern "C" Status cudnnDestroyTensorDescriptor(Four *made) { return delete made, 0; }
extern "C" Status cudnnSetTensor4dDescriptor(Four *to, int order, int type, int n, int c, int h, int w) {
    if (order != 0 || (type != F32 && type != BF16)) fail("not f32 or bf16 in the order NCHW");
    *to = {type, {n, c, h, w}};
    return 0;
}
extern "C" Status cudnnCreateFilterDescriptor(Four **made) { return *made = new Four(), 0; }
extern "C" Status cudnnDestroyFilterDescriptor(Four *made) { return delete made, 0; }
extern "C" Status cudnnSetFilter4dDescriptor(Four *to, int type, int order, int k, int c, int h, int w) {
    return cudnnSetTensor4dDescriptor(to, order, type, k, c, h, w);
}
extern "C" Status cudnnCreateConvolutionDescriptor(Rule **made) { return *made = new Rule(), 0; }
extern "C" Status cudnnDestroyConvolutionDescriptor(Rule *made) { return delete made, 0; }
extern "C" Status cudnnSetConvolution2dDescriptor(Rule *to, int h, int w, int u, int v, int dh, int dw, int mode,
                                                  int type) {
    if (h != w || u != 1 || v != 1 || dh != 1 || dw != 1 || mode != 1 || type != 0) fail("another convolution");
    to->pad = h;
    return 0;
}
extern "C" Status cudnnSetConvolutionMathType(Rule *to, int math) { return to->math = math, 0; }

// What a search finds: what must not be taken first, then something usable.
static Status results(Rule *rule, int most, int *found, Result *to) {
    if (most < 5) fail("room for too few results");
    *to++ = {9, 3000, 0.1f, 0, 1, rule->math, {}};            // does not run
    *to++ = {9, 0, 0.2f, 0, 0, rule->math, {}};               // not deterministic
    *to++ = {9, 0, 0.3f, (size_t)1 << 40, 1, rule->math, {}}; // too much memory
    *to++ = {9, 0, 0.4f, 0, 1, 2, {}};                        // half precision
    *to++ = {1, 0, 0.5f, WORKSPACE, 1, rule->math, {}};
    *found = 5;
    return 0;
}
extern "C" Status cudnnFindConvolutionForwardAlgorithm(Handle, Four *, Four *, Rule *rule, Four *, int most, int *found,
                                                       Result *to) {
    return results(rule, most, found, to);
}
extern "C" Status cudnnFindConvolutionBackwardDataAlgorithm(Handle, Four *, Four *, Rule *rule, Four *, int most,
                                                            int *found, Result *to) {
    return results(rule, most, found, to);
}
extern "C" Status cudnnFindConvolutionBackwardFilterAlgorithm(Handle, Four *, Four *, Rule *rule, Four *, int most,
                                                              int *found, Result *to) {
    return results(rule, most, found, to);
}

// Calls f(x, weight, y) with the indices of every product of a convolution.
template <class F>
static void products(const Four &x, const Four &w, const Four &y, const Rule &rule, F f) {
    auto [n, inputs, height, width] = x.size;
    if (w.type != x.type || y.type != x.type) fail("elements of two types");
    int outputs = w.size[0], side = w.size[2];
    bool fits = w.size[1] == inputs && w.size[3] == side && y.size[0] == n && y.size[1] == outputs &&
                y.size[2] == height && y.size[3] == width && rule.pad == side / 2;
    if (!fits) fail("descriptors do not fit each other");
    for (int b = 0; b < n; ++b)
        for (int o = 0; o < outputs; ++o)
            for (int c = 0; c < inputs; ++c)
                for (int v = 0; v < side; ++v)
                    for (int u = 0; u < side; ++u)
                        for (int r = 0; r < height; ++r) {
                            int row = r + v - rule.pad;
                            if (row < 0 || row >= height) continue;
                            for (int q = 0; q < width; ++q) {
                                int column = q + u - rule.pad;
                                if (column < 0 || column >= width) continue;
                                f(((b * inputs + c) * height + row) * width + column,
                                  ((o * inputs + c) * side + v) * side + u, ((b * outputs + o) * height + r) * width + q);
                            }
                        }
}

static void prepare(const char *name, int algorithm, void *workspace, size_t bytes, float alpha, float beta) {
    count(name);
    if (algorithm != 1 || bytes != WORKSPACE || alpha != 1 || beta != 0) fail(std::string(name) + ": not as found");
    inside((uint64_t)workspace, bytes, name);
    memset(workspace, 0xFF, bytes);
}

static void write(const Four &as, const std::vector<double> &from, void *to) {
    for (size_t i = 0; i < from.size(); ++i) {
        uint32 bits = __float_as_uint((float)from[i]);
        if (as.type == BF16) {
            ((uint16 *)to)[i] = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
        } else {
            ((float *)to)[i] = (float)from[i];
        }
    }
}

extern "C" Status cudnnConvolutionForward(Handle, const float *alpha, Four *xd, const void *x, Four *wd, const void *w,
                                          Rule *rule, int algorithm, void *workspace, size_t bytes, const float *beta,
                                          Four *yd, void *y) {
    prepare("cuDNN forward", algorithm, workspace, bytes, *alpha, *beta);
    inside((uint64_t)x, xd->bytes(), "cuDNN"), inside((uint64_t)w, wd->bytes(), "cuDNN"), inside((uint64_t)y, yd->bytes(), "cuDNN");
    std::vector<double> sums(yd->elements());
    products(*xd, *wd, *yd, *rule, [&](int i, int j, int k) { sums[k] += xd->get(x, i) * wd->get(w, j); });
    return write(*yd, sums, y), 0;
}
extern "C" Status cudnnConvolutionBackwardData(Handle, const float *alpha, Four *wd, const void *w, Four *yd,
                                               const void *dy, Rule *rule, int algorithm, void *workspace, size_t bytes,
                                               const float *beta, Four *xd, void *dx) {
    prepare("cuDNN backward data", algorithm, workspace, bytes, *alpha, *beta);
    inside((uint64_t)dx, xd->bytes(), "cuDNN"), inside((uint64_t)w, wd->bytes(), "cuDNN"), inside((uint64_t)dy, yd->bytes(), "cuDNN");
    std::vector<double> sums(xd->elements());
    products(*xd, *wd, *yd, *rule, [&](int i, int j, int k) { sums[i] += yd->get(dy, k) * wd->get(w, j); });
    return write(*xd, sums, dx), 0;
}
extern "C" Status cudnnConvolutionBackwardFilter(Handle, const float *alpha, Four *xd, const void *x, Four *yd,
                                                 const void *dy, Rule *rule, int algorithm, void *workspace,
                                                 size_t bytes, const float *beta, Four *wd, void *dw) {
    prepare("cuDNN backward filter", algorithm, workspace, bytes, *alpha, *beta);
    inside((uint64_t)x, xd->bytes(), "cuDNN"), inside((uint64_t)dw, wd->bytes(), "cuDNN"), inside((uint64_t)dy, yd->bytes(), "cuDNN");
    std::vector<double> sums(wd->elements());
    products(*xd, *wd, *yd, *rule, [&](int i, int j, int k) { sums[j] += xd->get(x, i) * yd->get(dy, k); });
    return write(*wd, sums, dw), 0;
}

// ----------------------------------------------------------------------------------------- NCCL

// Processes on this machine that share a file: how many have come by so far, then room for each one's values.
struct Meeting {
    volatile long arrived;
    float values[];
};
struct Peers {
    Meeting *meeting;
    long rounds;
    int count, rank;

    // Waits until all have come.
    void meet() {
        __sync_fetch_and_add(&meeting->arrived, 1);
        for (++rounds; __sync_fetch_and_add(&meeting->arrived, 0) < rounds * count;) sched_yield();
    }
};
struct Id {
    char path[128];
};
static const size_t MEETING = (size_t)1 << 30;

extern "C" Status ncclGetUniqueId(Id *id) {
    strcpy(id->path, "/tmp/stand_in_XXXXXX");
    int file = mkstemp(id->path);
    if (file < 0 || ftruncate(file, MEETING) != 0 || close(file) != 0) fail("no file to meet at");
    return 0;
}
extern "C" Status ncclCommInitRank(Peers **made, int count, Id id, int rank) {
    int file = open(id.path, O_RDWR);
    void *shared = mmap(nullptr, MEETING, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || shared == MAP_FAILED) fail("no file to meet at");
    *made = new Peers{(Meeting *)shared, 0, count, rank};
    (*made)->meet();
    // All have it open: it needs no name any more.
    if (rank == 0) unlink(id.path);
    return 0;
}
extern "C" Status ncclAllReduce(const float *from, float *to, size_t n, int type, int sum, Peers *peers, Handle) {
    if (type != 7 || sum != 0) fail("not a sum of f32");
    if (sizeof(Meeting) + n * peers->count * sizeof(float) > MEETING) fail("no room to sum");
    inside((uint64_t)from, n * sizeof(float), "NCCL"), inside((uint64_t)to, n * sizeof(float), "NCCL");
    count("NCCL sum");
    float *values = peers->meeting->values;
    memcpy(values + n * peers->rank, from, n * sizeof(float));
    peers->meet();
    memcpy(to, values, n * sizeof(float));
    for (int rank = 1; rank < peers->count; ++rank)
        for (size_t i = 0; i < n; ++i) to[i] += values[n * rank + i];
    // Nobody writes before all have read.
    peers->meet();
    return 0;
}
extern "C" Status ncclCommAbort(Peers *peers) { return munmap(peers->meeting, MEETING), delete peers, 0; }
extern "C" const char *ncclGetErrorString(Status) { return "stand-in"; }
