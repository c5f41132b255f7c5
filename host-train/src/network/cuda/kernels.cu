// The network's operations that no library has in this form: compiled at run time for the GPU at
// hand (NVRTC), and by `tests/cuda` as C++ for the processor.
//
// All sums are taken in an order that the shapes decide: no atomics, the same bits every time.
// Tensors are contiguous f32, (B, C, H, W); a plane is one channel of one image, n elements.
//
// Grids: blocks of THREADS. "Plane grid": x counts planes, y runs of SPAN elements of the plane.
// "Channel grid": x counts channels, y counts (image, run of SPAN elements), image by image.

#define THREADS 256
// Elements a block of the element-wise kernels takes: four a thread, enough in flight to hide the
// memory's latency.
#define SPAN 1024
// Elements a block of the reductions takes.
#define STRETCH 8192

typedef unsigned char uint8;
typedef unsigned short uint16;
typedef unsigned int uint32;
typedef unsigned long long uint64;

// Visits the elements of this block's run of the plane.
#define EACH_OF_RUN(i, n)                                                                         \
    _Pragma("unroll") for (uint32 _k = 0, i = blockIdx.y * SPAN + threadIdx.x; _k < SPAN / THREADS; \
                           ++_k, i += THREADS) if (i < (n))

__device__ bool is_finite(float x) { return fabsf(x) <= 3.402823466e38f; }

// Sum over the block of each thread's value, the same in every thread.
__device__ double block_sum(double value) {
    __shared__ double lanes[THREADS];
    lanes[threadIdx.x] = value;
    __syncthreads();
    for (uint32 half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) lanes[threadIdx.x] += lanes[threadIdx.x + half];
        __syncthreads();
    }
    double sum = lanes[0];
    __syncthreads();
    return sum;
}

// ---------------------------------------------------------------- batch normalisation and ReLU

// Channel grid of STRETCH. Partial sums of x - pivot and of its square, where the pivot, the
// channel's first value, keeps a large mean from swallowing a small variance.
// sums: (channels, gridDim.y, 2).
extern "C" __global__ void norm_sums(double *__restrict__ sums, const float *__restrict__ x,
                                     uint32 channels, uint32 n) {
    uint32 runs = (n + STRETCH - 1) / STRETCH, image = blockIdx.y / runs;
    uint32 first = blockIdx.y % runs * STRETCH, end = min(first + STRETCH, n);
    const float *plane = x + (uint64)(image * channels + blockIdx.x) * n;
    float pivot = x[(uint64)blockIdx.x * n], sum = 0.0f, squares = 0.0f;
    for (uint32 i = first + threadIdx.x; i < end; i += THREADS) {
        float d = plane[i] - pivot;
        sum += d;
        squares += d * d;
    }
    double total = block_sum(sum), total_squares = block_sum(squares);
    if (threadIdx.x == 0) {
        double *to = sums + ((uint64)blockIdx.x * gridDim.y + blockIdx.y) * 2;
        to[0] = total;
        to[1] = total_squares;
    }
}

// What normalising with the given mean and variance multiplies and adds: affine is (C, 2).
__device__ void set_affine(double *__restrict__ moments, float *__restrict__ affine, uint32 c,
                           float weight, float bias, double mean, double variance) {
    double inverse = 1.0 / sqrt(variance + 1e-5);
    double scale = (double)weight * inverse;
    moments[2 * c] = mean;
    moments[2 * c + 1] = inverse;
    affine[2 * c] = (float)scale;
    affine[2 * c + 1] = (float)((double)bias - scale * mean);
}

// A block a channel: mean and variance from the partial sums, the running statistics, and the
// affine map. The input's own offset (the bias of a convolution, which the normalisation takes
// away again) is added to the running mean alone; 0 where there is none.
// moments: (C, 2), mean and inverse deviation.
extern "C" __global__ void norm_finish(double *__restrict__ moments, float *__restrict__ affine,
                                       float *__restrict__ running_mean,
                                       float *__restrict__ running_var,
                                       const double *__restrict__ sums, const float *__restrict__ x,
                                       const float *__restrict__ weight,
                                       const float *__restrict__ bias,
                                       const float *__restrict__ offset, uint32 parts, uint32 batch,
                                       uint32 n) {
    uint32 c = blockIdx.x;
    const double *own = sums + (uint64)c * parts * 2;
    double sum = 0.0, squares = 0.0;
    for (uint32 i = threadIdx.x; i < parts; i += THREADS) {
        sum += own[2 * i];
        squares += own[2 * i + 1];
    }
    sum = block_sum(sum);
    squares = block_sum(squares);
    if (threadIdx.x != 0) return;
    double count = (double)batch * n;
    double mean = (double)x[(uint64)c * n] + sum / count;
    double deviations = squares - sum * sum / count;
    // Not max: a NaN must stay visible.
    if (deviations < 0.0) deviations = 0.0;
    set_affine(moments, affine, c, weight[c], bias[c], mean, deviations / count);
    float seen = (float)mean + (offset ? offset[c] : 0.0f);
    running_mean[c] = running_mean[c] * 0.9f + seen * 0.1f;
    running_var[c] = running_var[c] * 0.9f + (float)(deviations / (count - 1.0)) * 0.1f;
}

// A thread a channel: the affine map of fixed statistics, which know the offset.
extern "C" __global__ void norm_fixed(double *__restrict__ moments, float *__restrict__ affine,
                                      const float *__restrict__ running_mean,
                                      const float *__restrict__ running_var,
                                      const float *__restrict__ weight,
                                      const float *__restrict__ bias,
                                      const float *__restrict__ offset, uint32 channels) {
    uint32 c = blockIdx.x * THREADS + threadIdx.x;
    if (c >= channels) return;
    double mean = (double)running_mean[c] - (offset ? (double)offset[c] : 0.0);
    set_affine(moments, affine, c, weight[c], bias[c], mean, running_var[c]);
}

// Plane grid: y = x scale + shift, clipped at zero. A NaN stays.
extern "C" __global__ void norm_apply(float *__restrict__ y, const float *__restrict__ x,
                                      const float *__restrict__ affine, uint32 channels, uint32 n) {
    uint32 c = blockIdx.x % channels;
    uint64 plane = (uint64)blockIdx.x * n;
    float scale = affine[2 * c], shift = affine[2 * c + 1];
    EACH_OF_RUN(i, n) {
        float value = fmaf(x[plane + i], scale, shift);
        y[plane + i] = value < 0.0f ? 0.0f : value;
    }
}

// Whether the ReLU let x through: the forward pass's own arithmetic, so that its result need not be
// read again. A NaN's gradient is cut.
__device__ bool is_open(float x, float scale, float shift) { return fmaf(x, scale, shift) > 0.0f; }

// Channel grid of STRETCH: partial sums of g and of g (x - mean) where the ReLU is open.
// sums: (channels, gridDim.y, 2).
extern "C" __global__ void norm_grad_sums(double *__restrict__ sums, const float *__restrict__ x,
                                          const float *__restrict__ g,
                                          const double *__restrict__ moments,
                                          const float *__restrict__ affine, uint32 channels,
                                          uint32 n) {
    uint32 runs = (n + STRETCH - 1) / STRETCH, image = blockIdx.y / runs, c = blockIdx.x;
    uint32 first = blockIdx.y % runs * STRETCH, end = min(first + STRETCH, n);
    uint64 plane = (uint64)(image * channels + c) * n;
    float scale = affine[2 * c], shift = affine[2 * c + 1], mean = (float)moments[2 * c];
    float of_g = 0.0f, of_gx = 0.0f;
    for (uint32 i = first + threadIdx.x; i < end; i += THREADS) {
        float value = x[plane + i];
        float open = is_open(value, scale, shift) ? g[plane + i] : 0.0f;
        of_g += open;
        of_gx += open * (value - mean);
    }
    double total = block_sum(of_g), total_x = block_sum(of_gx);
    if (threadIdx.x == 0) {
        double *to = sums + ((uint64)c * gridDim.y + blockIdx.y) * 2;
        to[0] = total;
        to[1] = total_x;
    }
}

// A block a channel: gradients of weight and bias, and the three numbers of
// dx = scale g + slope x + level (0 without `measured`: fixed statistics are constants).
// terms: (C, 3).
extern "C" __global__ void norm_grad_finish(float *__restrict__ to_weight,
                                            float *__restrict__ to_bias, float *__restrict__ terms,
                                            const double *__restrict__ sums,
                                            const double *__restrict__ moments,
                                            const float *__restrict__ weight, uint32 parts,
                                            uint32 batch, uint32 n, uint32 measured) {
    uint32 c = blockIdx.x;
    const double *own = sums + (uint64)c * parts * 2;
    double of_g = 0.0, of_gx = 0.0;
    for (uint32 i = threadIdx.x; i < parts; i += THREADS) {
        of_g += own[2 * i];
        of_gx += own[2 * i + 1];
    }
    of_g = block_sum(of_g);
    of_gx = block_sum(of_gx);
    if (threadIdx.x != 0) return;
    double mean = moments[2 * c], inverse = moments[2 * c + 1], count = (double)batch * n;
    // The mean was rounded to f32 in the sums.
    of_gx -= (mean - (double)(float)mean) * of_g;
    double of_gn = of_gx * inverse, scale = (double)weight[c] * inverse;
    double slope = measured ? -scale * inverse * of_gn / count : 0.0;
    double level = measured ? -scale * of_g / count - slope * mean : 0.0;
    to_weight[c] = (float)of_gn;
    to_bias[c] = (float)of_g;
    terms[3 * c] = (float)scale;
    terms[3 * c + 1] = (float)slope;
    terms[3 * c + 2] = (float)level;
}

// Plane grid: the gradient of x.
extern "C" __global__ void norm_grad_apply(float *__restrict__ dx, const float *__restrict__ x,
                                           const float *__restrict__ g,
                                           const float *__restrict__ affine,
                                           const float *__restrict__ terms, uint32 channels,
                                           uint32 n) {
    uint32 c = blockIdx.x % channels;
    uint64 plane = (uint64)blockIdx.x * n;
    float scale = affine[2 * c], shift = affine[2 * c + 1];
    float of_g = terms[3 * c], slope = terms[3 * c + 1], level = terms[3 * c + 2];
    EACH_OF_RUN(i, n) {
        float value = x[plane + i];
        float open = is_open(value, scale, shift) ? g[plane + i] : 0.0f;
        dx[plane + i] = fmaf(of_g, open, fmaf(slope, value, level));
    }
}

// ------------------------------------------------------------------------- bias of a convolution

// Plane grid: y += bias, in place.
extern "C" __global__ void bias_add(float *__restrict__ y, const float *__restrict__ bias,
                                    uint32 channels, uint32 n) {
    float value = bias[blockIdx.x % channels];
    uint64 plane = (uint64)blockIdx.x * n;
    EACH_OF_RUN(i, n) y[plane + i] += value;
}

// Channel grid of STRETCH: partial sums of g, (channels, gridDim.y).
extern "C" __global__ void bias_grad_sums(double *__restrict__ sums, const float *__restrict__ g,
                                          uint32 channels, uint32 n) {
    uint32 runs = (n + STRETCH - 1) / STRETCH, image = blockIdx.y / runs;
    uint32 first = blockIdx.y % runs * STRETCH, end = min(first + STRETCH, n);
    const float *plane = g + (uint64)(image * channels + blockIdx.x) * n;
    float sum = 0.0f;
    for (uint32 i = first + threadIdx.x; i < end; i += THREADS) sum += plane[i];
    double total = block_sum(sum);
    if (threadIdx.x == 0) sums[(uint64)blockIdx.x * gridDim.y + blockIdx.y] = total;
}

// A block a channel.
extern "C" __global__ void bias_grad_finish(float *__restrict__ to_bias,
                                            const double *__restrict__ sums, uint32 parts) {
    double sum = 0.0;
    for (uint32 i = threadIdx.x; i < parts; i += THREADS) {
        sum += sums[(uint64)blockIdx.x * parts + i];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) to_bias[blockIdx.x] = (float)sum;
}

// -------------------------------------------------------------------------------------- pooling

__device__ float larger(float first, float second) {
    return second > first || second != second ? second : first;
}

// Plane grid over the outputs (height / 2, width / 2); odd edges are left out.
extern "C" __global__ void max_pool(float *__restrict__ y, const float *__restrict__ x,
                                    uint32 height, uint32 width) {
    uint32 across = width / 2, n = (height / 2) * across;
    const float *plane = x + (uint64)blockIdx.x * height * width;
    float *to = y + (uint64)blockIdx.x * n;
    EACH_OF_RUN(i, n) {
        const float *upper = plane + i / across * 2 * width + i % across * 2;
        const float *lower = upper + width;
        to[i] = larger(larger(upper[0], upper[1]), larger(lower[0], lower[1]));
    }
}

// Plane grid over the inputs: each input finds its window's first largest element.
extern "C" __global__ void max_pool_grad(float *__restrict__ dx, const float *__restrict__ x,
                                         const float *__restrict__ g, uint32 height, uint32 width) {
    uint32 across = width / 2, down = height / 2, n = height * width;
    const float *plane = x + (uint64)blockIdx.x * n;
    const float *gradient = g + (uint64)blockIdx.x * down * across;
    float *to = dx + (uint64)blockIdx.x * n;
    EACH_OF_RUN(i, n) {
        uint32 row = i / width, column = i % width;
        float share = 0.0f;
        if (row / 2 < down && column / 2 < across) {
            const float *upper = plane + row / 2 * 2 * width + column / 2 * 2;
            const float *lower = upper + width;
            float most = larger(larger(upper[0], upper[1]), larger(lower[0], lower[1]));
            // A NaN equals nothing: then the last one gets the gradient, as on the processor.
            uint32 winner = upper[0] == most   ? 0
                            : upper[1] == most ? 1
                            : lower[0] == most ? 2
                                               : 3;
            if (winner == row % 2 * 2 + column % 2) share = gradient[row / 2 * across + column / 2];
        }
        to[i] = share;
    }
}

// Where the first largest element of the plane is, the same in every thread; a NaN wins.
__device__ uint32 first_largest(const float *__restrict__ plane, uint32 n) {
    __shared__ float values[THREADS];
    __shared__ uint32 places[THREADS];
    uint32 best = threadIdx.x < n ? threadIdx.x : 0;
    for (uint32 i = best + THREADS; i < n; i += THREADS) {
        if (plane[i] > plane[best] || (plane[i] != plane[i] && plane[best] == plane[best])) best = i;
    }
    values[threadIdx.x] = plane[best];
    places[threadIdx.x] = best;
    __syncthreads();
    for (uint32 half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            float own = values[threadIdx.x], other = values[threadIdx.x + half];
            uint32 at = places[threadIdx.x], there = places[threadIdx.x + half];
            bool both_nan = own != own && other != other;
            bool other_wins = other > own || (other != other && own == own);
            if (other_wins || ((other == own || both_nan) && there < at)) {
                values[threadIdx.x] = other;
                places[threadIdx.x] = there;
            }
        }
        __syncthreads();
    }
    best = places[0];
    __syncthreads();
    return best;
}

// A block a plane: its largest element.
extern "C" __global__ void global_max(float *__restrict__ y, const float *__restrict__ x, uint32 n) {
    const float *plane = x + (uint64)blockIdx.x * n;
    uint32 at = first_largest(plane, n);
    if (threadIdx.x == 0) y[blockIdx.x] = plane[at];
}

// A block a plane: the gradient goes to one element.
extern "C" __global__ void global_max_grad(float *__restrict__ dx, const float *__restrict__ x,
                                           const float *__restrict__ g, uint32 n) {
    uint64 plane = (uint64)blockIdx.x * n;
    uint32 at = first_largest(x + plane, n);
    for (uint32 i = threadIdx.x; i < n; i += THREADS) {
        dx[plane + i] = i == at ? g[blockIdx.x] : 0.0f;
    }
}

// ----------------------------------------------------- bilinear enlargement and skip connection

// With corners aligned, output j of 2n lies at j (n - 1) / (2n - 1): output 2k between inputs k - 1
// and k, output 2k + 1 between k and k + 1. The shares are these fractions over 2n - 1.
struct Between {
    uint32 lower, upper;
    float of_lower, of_upper;
};

__device__ Between between(uint32 j, uint32 n) {
    uint32 k = j / 2;
    float whole = (float)(2 * n - 1);
    Between b;
    if (j % 2 == 0) {
        b.lower = k == 0 ? 0 : k - 1;
        b.upper = k;
        b.of_lower = (float)k / whole;
        b.of_upper = (float)(2 * n - 1 - k) / whole;
    } else {
        b.lower = k;
        b.upper = k + 1 == n ? k : k + 1;
        b.of_lower = (float)(n + k) / whole;
        b.of_upper = (float)(n - 1 - k) / whole;
    }
    return b;
}

// Plane grid over the outputs (2 height, 2 width) of B (deep + skip) planes: the deep ones enlarged,
// then the skip connection's.
extern "C" __global__ void joint(float *__restrict__ y, const float *__restrict__ deep,
                                 const float *__restrict__ skip, uint32 deep_channels,
                                 uint32 skip_channels, uint32 height, uint32 width) {
    uint32 channels = deep_channels + skip_channels, n = 4 * height * width;
    uint32 image = blockIdx.x / channels, c = blockIdx.x % channels;
    float *to = y + (uint64)blockIdx.x * n;
    if (c >= deep_channels) {
        const float *from = skip + (uint64)(image * skip_channels + c - deep_channels) * n;
        EACH_OF_RUN(i, n) to[i] = from[i];
        return;
    }
    const float *from = deep + (uint64)(image * deep_channels + c) * (n / 4);
    EACH_OF_RUN(i, n) {
        Between row = between(i / (2 * width), height), column = between(i % (2 * width), width);
        const float *upper = from + row.lower * width, *lower = from + row.upper * width;
        float left = upper[column.lower] * row.of_lower + lower[column.lower] * row.of_upper;
        float right = upper[column.upper] * row.of_lower + lower[column.upper] * row.of_upper;
        to[i] = left * column.of_lower + right * column.of_upper;
    }
}

// Shares of input k in outputs 2k - 1, 2k, 2k + 1 and 2k + 2; 0 where there is no such output.
__device__ void shares(float of[4], uint32 k, uint32 n) {
    float whole = (float)(2 * n - 1);
    of[0] = k == 0 ? 0.0f : (float)(n - k) / whole;
    of[1] = (float)(2 * n - 1 - k) / whole;
    of[2] = (float)(n + k) / whole;
    of[3] = k + 1 == n ? 0.0f : (float)(k + 1) / whole;
}

// Plane grid over the inputs (height, width) of B deep planes: what each contributed to.
extern "C" __global__ void joint_grad_deep(float *__restrict__ to_deep, const float *__restrict__ g,
                                           uint32 deep_channels, uint32 skip_channels,
                                           uint32 height, uint32 width) {
    uint32 channels = deep_channels + skip_channels, n = height * width;
    uint32 image = blockIdx.x / deep_channels, c = blockIdx.x % deep_channels;
    const float *plane = g + (uint64)(image * channels + c) * (4 * n);
    EACH_OF_RUN(i, n) {
        uint32 row = i / width, column = i % width;
        float down[4], across[4];
        shares(down, row, height);
        shares(across, column, width);
        float sum = 0.0f;
        for (uint32 v = 0; v < 4; ++v) {
            if (down[v] == 0.0f) continue;
            const float *line = plane + (2 * row + v - 1) * 2 * width;
            float of_line = 0.0f;
            for (uint32 u = 0; u < 4; ++u) {
                if (across[u] != 0.0f) of_line += across[u] * line[2 * column + u - 1];
            }
            sum += down[v] * of_line;
        }
        to_deep[(uint64)blockIdx.x * n + i] = sum;
    }
}

// Plane grid over the B skip planes of n elements.
extern "C" __global__ void joint_grad_skip(float *__restrict__ to_skip, const float *__restrict__ g,
                                           uint32 deep_channels, uint32 skip_channels, uint32 n) {
    uint32 image = blockIdx.x / skip_channels, c = blockIdx.x % skip_channels;
    uint32 channels = deep_channels + skip_channels;
    const float *from = g + (uint64)(image * channels + deep_channels + c) * n;
    EACH_OF_RUN(i, n) to_skip[(uint64)blockIdx.x * n + i] = from[i];
}

// --------------------------------------------------------------------------------------- losses

// Kinds of loss.
#define FOCAL 0
#define CROSS_ENTROPY 1
#define DISTANCE 2

// Loss of one element, as `loss.rs` has it, and its derivative by the logit.
__device__ float element_loss(uint32 kind, float z, float t, float *slope) {
    float tail = expf(-fabsf(z));
    float p = z >= 0.0f ? 1.0f / (1.0f + tail) : tail / (1.0f + tail);
    float positive = z < 0.0f ? 0.0f : z;
    float bce = positive - z * t + log1pf(tail);
    if (kind == CROSS_ENTROPY) {
        *slope = p - t;
        return bce;
    }
    if (kind == FOCAL) {
        float miss = -expm1f(-bce), hit = expf(-bce);
        *slope = (miss * miss + 2.0f * bce * miss * hit) * (p - t);
        return miss * miss * bce;
    }
    float off = p - t;
    float of_p = z >= 0.0f ? p * (tail / (1.0f + tail)) : p / (1.0f + tail);
    *slope = (off > 0.0f ? 1.0f : off < 0.0f ? -1.0f : 0.0f * off) * of_p;
    return fabsf(off);
}

// Number of elements that count, weighted.
__device__ double weighed(const float *__restrict__ weights, uint32 batch, uint32 n) {
    double sum = 0.0;
    for (uint32 i = 0; i < batch; ++i) sum += weights[i];
    return sum * n;
}

// x counts images, y runs of STRETCH of the image's n elements: partial sums times the image's
// weight, (batch, gridDim.y). An image without label may carry any value: it is not looked at.
extern "C" __global__ void loss_sums(double *__restrict__ sums, const float *__restrict__ logits,
                                     const float *__restrict__ values,
                                     const float *__restrict__ weights, uint32 kind, uint32 n) {
    float weight = weights[blockIdx.x], slope;
    uint32 first = blockIdx.y * STRETCH, end = min(first + STRETCH, n);
    uint64 image = (uint64)blockIdx.x * n;
    float sum = 0.0f;
    if (weight != 0.0f) {
        for (uint32 i = first + threadIdx.x; i < end; i += THREADS) {
            sum += element_loss(kind, logits[image + i], values[image + i], &slope);
        }
    }
    double total = block_sum(sum);
    if (threadIdx.x == 0) {
        sums[blockIdx.x * gridDim.y + blockIdx.y] = weight != 0.0f ? total * weight : 0.0;
    }
}

// One block: the mean; NaN where no image has a weight.
extern "C" __global__ void loss_finish(float *__restrict__ loss, const double *__restrict__ sums,
                                       const float *__restrict__ weights, uint32 parts,
                                       uint32 batch, uint32 n) {
    double sum = 0.0;
    for (uint32 i = threadIdx.x; i < parts; i += THREADS) sum += sums[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *loss = (float)(sum / weighed(weights, batch, n));
}

// Image grid (x images, y runs of SPAN): the gradient of the logits, times `outer`, one number. Where
// the loss is not finite, *halted is set, and the optimisers of the device make no step any more.
extern "C" __global__ void loss_grad(float *__restrict__ to_logits,
                                     const float *__restrict__ logits,
                                     const float *__restrict__ values,
                                     const float *__restrict__ weights,
                                     const float *__restrict__ loss,
                                     const float *__restrict__ outer, uint32 *halted, uint32 kind,
                                     uint32 batch, uint32 n) {
    if (threadIdx.x == 0 && blockIdx.x == 0 && blockIdx.y == 0 && !is_finite(*loss)) *halted = 1;
    float weight = weights[blockIdx.x];
    float scale = (float)((double)*outer / weighed(weights, batch, n) * weight);
    uint64 image = (uint64)blockIdx.x * n;
    EACH_OF_RUN(i, n) {
        float slope = 0.0f;
        if (weight != 0.0f) {
            element_loss(kind, logits[image + i], values[image + i], &slope);
            slope *= scale;
        }
        to_logits[image + i] = slope;
    }
}

// -------------------------------------------------------------------------------------- batches

// An example on the device.
struct Example {
    // RGB row by row; the masks, 0 or 1. The address is 0 where there is no such label.
    const uint8 *pixels, *disc, *cup;
    // In pixel-index coordinates, NaN where it is unknown.
    double fovea_x, fovea_y;
};

// Image grid: levels times `scale` as (B, 3, side, side), and the maps of the labels as (B, 1, side, side),
// zero where an image has none. A map that no image has is not written: its address is 0. The fovea's is
// that of `target.rs`, in f64 as there.
extern "C" __global__ void show(float *__restrict__ images, float *__restrict__ discs,
                                float *__restrict__ cups, float *__restrict__ foveas,
                                const Example *__restrict__ examples, uint32 side, float scale) {
    Example own = examples[blockIdx.x];
    uint32 n = side * side;
    uint64 map = (uint64)blockIdx.x * n;
    double share = (double)side / 256.0, spread = 2.0 * (50.0 * share * share);
    EACH_OF_RUN(i, n) {
        for (uint32 c = 0; c < 3; ++c) images[3 * map + c * n + i] = (float)own.pixels[3 * i + c] * scale;
        if (discs) discs[map + i] = own.disc && own.disc[i] ? 1.0f : 0.0f;
        if (cups) cups[map + i] = own.cup && own.cup[i] ? 1.0f : 0.0f;
        if (foveas) {
            double x = (double)(i % side) - own.fovea_x, y = (double)(i / side) - own.fovea_y;
            double value = exp(-(y * y) / spread) * exp(-(x * x) / spread);
            foveas[map + i] = own.fovea_x == own.fovea_x ? (float)value : 0.0f;
        }
    }
}

// ----------------------------------------------------------------------------------------- bf16

// x counts runs of SPAN of n elements: the nearest bf16 as its 16 bits, of two as near the even one; NaN
// stays NaN.
extern "C" __global__ void to_bf16(uint16 *__restrict__ y, const float *__restrict__ x, uint32 n) {
    for (uint32 k = 0, i = blockIdx.x * SPAN + threadIdx.x; k < SPAN / THREADS; ++k, i += THREADS) {
        if (i >= n) break;
        uint32 bits = __float_as_uint(x[i]);
        uint32 rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
        y[i] = x[i] == x[i] ? (uint16)rounded : (uint16)0x7FFF;
    }
}

// The same grid: exact.
extern "C" __global__ void from_bf16(float *__restrict__ y, const uint16 *__restrict__ x, uint32 n) {
    for (uint32 k = 0, i = blockIdx.x * SPAN + threadIdx.x; k < SPAN / THREADS; ++k, i += THREADS) {
        if (i >= n) break;
        y[i] = __uint_as_float((uint32)x[i] << 16);
    }
}

// ----------------------------------------------------------------------------------------- Adam

// One parameter tensor of a group.
struct Slot {
    float *parameter;
    const float *gradient;
    // Into the moments, which lie one after the other.
    uint64 start;
    // Elements, and blocks of all slots before.
    uint32 count, first_block;
    // Learning rate over the mean's bias correction; root of the square's.
    float step, root;
    // What decay leaves of the parameter, and clipping of the gradient.
    float keep, scale;
};

// Each block takes SPAN elements of one slot; slots are in the order of their first block.
// Nothing moves once *halted is set.
extern "C" __global__ void adam(const Slot *__restrict__ slots, float *__restrict__ mean,
                                float *__restrict__ square, const uint32 *__restrict__ halted,
                                uint32 count, float beta2, float gain1, float gain2, float eps) {
    if (*halted) return;
    uint32 low = 0, high = count;
    while (high - low > 1) {
        uint32 middle = (low + high) / 2;
        if (slots[middle].first_block <= blockIdx.x) low = middle;
        else high = middle;
    }
    Slot slot = slots[low];
    uint32 from = (blockIdx.x - slot.first_block) * SPAN;
    for (uint32 k = 0, i = from + threadIdx.x; k < SPAN / THREADS; ++k, i += THREADS) {
        if (i >= slot.count) break;
        float g = slot.gradient[i] * slot.scale, m = mean[slot.start + i], v = square[slot.start + i];
        m += gain1 * (g - m);
        v = v * beta2 + gain2 * g * g;
        mean[slot.start + i] = m;
        square[slot.start + i] = v;
        float move = slot.step * (m / (sqrtf(v) / slot.root + eps));
        slot.parameter[i] = slot.parameter[i] * slot.keep - move;
    }
}
