// The fused selective scan in CUDA C++, compiled for one set of options at run time (cuda.py). Derivation: ../README.md.
//
// A block owns CHANNELS channels of one sequence and one segment of time, a warp 32 / P of them: P lanes share a channel and hold
// four of its (up to 16) states each. Time goes by in tiles whose scalars (step size, drive, gradient of y) are computed once for
// all states and laid out in shared memory; the recurrence then runs in registers. Sums over the states of a channel, and over the
// channels of a warp in float32, halve the number of values a lane holds with every exchange, so that each lane ends with the sum
// of one. Where the inputs are narrow, sums over channels are products of the tensor cores with a matrix of ones.
// Sums over warps, blocks, sequences and segments are added in a fixed order: no atomics.
//
// Options: N states, P lanes per channel (4 P >= N), ROWS 0 where neighbours in time are neighbours in memory and 1 where
// channels are; *_TYPE 0 float, 1 bfloat16, 2 float16; VECTOR_* 1 where a group of neighbours may be loaded as a whole; PACKED
// where rows hold several sequences, one after the other in time; RELAY where blocks hand states over to those of the next segment;
// DEPENDENT and TRIGGER where a kernel may begin before the one ahead of it has ended, and lets the next one begin.

#define CHANNELS 32
#define KEEP 64  // steps between kept states
#define TILE 32  // steps of a tile of the passes that keep nothing
#define GROUP 8  // neighbours in memory that a thread moves together
#define PAD 4    // floats behind every row in shared memory
#define THREADS (32 * P)
#define ALL 0xffffffffu
#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

typedef long long i64;
struct bf16 { unsigned short bits; };
struct f16 { unsigned short bits; };
struct alignas(16) Four { float v[4]; };
struct alignas(16) Raw { unsigned v[4]; };

template <int CODE> struct Type { typedef float type; };
template <> struct Type<1> { typedef bf16 type; };
template <> struct Type<2> { typedef f16 type; };

typedef Type<U_TYPE>::type u_t;
typedef Type<DT_TYPE>::type dt_t;
typedef Type<Z_TYPE>::type z_t;
typedef Type<G_TYPE>::type g_t;
typedef Type<B_TYPE>::type b_t;
typedef Type<C_TYPE>::type c_t;

#ifdef __CUDA_ARCH__  // else tests/empirics/emulator/cuda.h, by which tests run this file on a CPU
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
__device__ __forceinline__ void product(float* d, const unsigned* a, const unsigned* b) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#if !PRECISE
// On [-1, 0] the hardware's result is too small by 0.3 units of 2^-24 in the mean (H100): a state multiplied by it at every step
// shows that. Added to the argument, which costs nothing in a fused product, this takes the mean out.
#define EXP2_SHIFT 2.55e-8f
__device__ __forceinline__ float exp2_(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
__device__ __forceinline__ float rcp_(float x) { float y; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
#endif
__device__ __forceinline__ int load_acquire(const int* p) {
    int v; asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;
}
__device__ __forceinline__ void store_release(int* p, int v) {
    asm volatile("st.release.gpu.global.s32 [%0], %1;" :: "l"(p), "r"(v) : "memory");
}
__device__ __forceinline__ void prefetch_(const void* p) { asm volatile("prefetch.global.L2 [%0];" :: "l"(p)); }
#if DEPENDENT
__device__ __forceinline__ void wait_for_kernel_ahead() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
#endif
#if TRIGGER
__device__ __forceinline__ void let_next_kernel_begin() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
#endif
__device__ __forceinline__ float value(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }
__device__ __forceinline__ float value(f16 x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits)); return y; }
__device__ __forceinline__ void narrow(bf16& y, float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
__device__ __forceinline__ void narrow(f16& y, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
#else
EMULATED_CONVERSIONS
#endif
__device__ __forceinline__ float value(float x) { return x; }
__device__ __forceinline__ void narrow(float& y, float x) { y = x; }

#if PRECISE
// The hardware's exponential is off by up to two units of the last place, always to the same side near the same number: a state
// multiplied by it at every step shows that. Here 2^x = 2^n 2^f, n the nearest integer, and 2^f by its series.
__device__ __forceinline__ float exp2_(float x) {
    const float n = fminf(fmaxf(rintf(x), -127.f), 128.f), f = fminf(fmaxf(x, -140.f), 140.f) - n;
    float p = 1.52527338e-5f;
    p = fmaf(p, f, 1.54035304e-4f); p = fmaf(p, f, 1.33335581e-3f); p = fmaf(p, f, 9.61812911e-3f);
    p = fmaf(p, f, 5.55041087e-2f); p = fmaf(p, f, 2.40226507e-1f); p = fmaf(p, f, 6.93147181e-1f); p = fmaf(p, f, 1.f);
    return x != x ? x : p * __uint_as_float((unsigned)((int)n + 127) << 23);
}
__device__ __forceinline__ float rcp_(float x) { return 1.f / x; }
#endif

struct Args {
    const void *u, *dt, *A, *B, *C, *D, *z, *bias, *start, *kept_in, *d_out, *end;
    void *out, *last, *kept, *local, *total;
    void *du, *ddt, *dz, *dA, *dD, *dbias, *dh0, *shares;
    i64 u_batch, u_channel, u_time, dt_batch, dt_channel, dt_time, z_batch, z_channel, z_time, g_batch, g_channel, g_time;
    i64 B_batch, B_state, B_time, C_batch, C_state, C_time;
    i64 out_batch, out_channel, out_time;  // of out, du, ddt and dz
    void *dB, *dC;
    i64 dB_batch, dB_state, dB_time, dC_batch, dC_state, dC_time, chains, slots;
    int width, length, segment, segments, blocks;
#if PACKED || RELAY
    const struct Item *items;  // PACKED: one for each slot
    int *flags;                // RELAY: whether (slot, block) has handed its state over; 0 at first
    int chains_of;             // RELAY: batch times blocks
#endif
};

// --- shared memory: rows of one channel's steps ---

// Position of step t of channel c in an array of rows of SPAN + PAD floats. Four steps in a row stay together; groups of them are
// permuted so that neither eight channels of one step nor eight steps of every eighth channel meet in a bank.
template <int SPAN> __device__ __forceinline__ int at(int c, int t) {
    return c * (SPAN + PAD) + ((((t >> 2) ^ ((c >> 2) & 6)) << 2) | (t & 3));
}

__device__ __forceinline__ Four load4(const float* p) { return *(const Four*)p; }
__device__ __forceinline__ void store4(float* p, const Four& v) { *(Four*)p = v; }

// --- groups of neighbours in memory: GROUP steps of a channel, or GROUP channels of a step ---

#define GROUPS_OF(span) (CHANNELS * (span) / GROUP / THREADS)

// A thread's k-th group of a tile of SPAN steps: its channel and step, within the block's channels and the tile.
template <int SPAN> __device__ __forceinline__ void place(int tid, int k, int& c, int& t) {
    const int id = tid + k * THREADS;
#if ROWS == 0
    c = id / (SPAN / GROUP); t = id % (SPAN / GROUP) * GROUP;
#else
    c = id % (CHANNELS / GROUP) * GROUP; t = id / (CHANNELS / GROUP);
#endif
}

// The values of the group at (c, t), to and from an array of rows; and of the group's channels, one float each.
template <int SPAN> __device__ __forceinline__ void put(float* rows, int c, int t, const float* v) {
    float* p = rows + at<SPAN>(c, t);
#pragma unroll
    for (int i = 0; i < GROUP; i++) {
        if (ROWS == 0) { if (i % 4 == 0) store4(p + i, *(const Four*)(v + i)); }
        else p[i * (SPAN + PAD)] = v[i];  // the same permutation for all of them
    }
}
template <int SPAN> __device__ __forceinline__ void get(const float* rows, int c, int t, float* v) {
    const float* p = rows + at<SPAN>(c, t);
#pragma unroll
    for (int i = 0; i < GROUP; i++) {
        if (ROWS == 0) { if (i % 4 == 0) *(Four*)(v + i) = load4(p + i); }
        else v[i] = p[i * (SPAN + PAD)];
    }
}
__device__ __forceinline__ void of_channels(const float* of, int c, float* v) {
#if ROWS == 0
    const float x = of[c];
#pragma unroll
    for (int i = 0; i < GROUP; i++) v[i] = x;
#else
#pragma unroll
    for (int i = 0; i < GROUP; i += 4) *(Four*)(v + i) = load4(of + c + i);
#endif
}

// The group's sum, in pairs.
__device__ __forceinline__ float sum_group(const float* v) {
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

// A sum with what its roundings lose (Knuth's two-sum): over a long sequence these, not those of the terms, decide its error.
struct Sum {
    float high, low;
    __device__ __forceinline__ void add(float x) {
        const float s = high + x, b = s - high;
        low += (high - (s - b)) + (x - b);
        high = s;
    }
    // The sums of COUNT lanes, neighbours: to all of them.
    template <int COUNT> __device__ __forceinline__ void add_sharers() {
#pragma unroll
        for (int mask = 1; mask < COUNT; mask *= 2) {
            const float rest = __shfl_xor_sync(ALL, low, mask);
            add(__shfl_xor_sync(ALL, high, mask));
            low += rest;
        }
    }
    __device__ __forceinline__ float value() const { return high + low; }
};

// How many of the group lie inside the array.
__device__ __forceinline__ int inside(int c, i64 t, int width, i64 stop) {
#if ROWS == 0
    i64 n = c < width ? stop - t : 0;
#else
    i64 n = t < stop ? width - c : 0;
#endif
    return n < 0 ? 0 : n > GROUP ? GROUP : (int)n;
}

// A group as it lies in memory; it is moved in pieces of 16 bytes.
template <typename T> struct alignas(16) Group {
    static const int PIECES = sizeof(T) * GROUP / sizeof(Raw);
    T v[GROUP];
};

template <bool VECTOR, typename T>
__device__ __forceinline__ void fetch_group(Group<T>& group, const T* base, i64 channel, i64 time, int c, i64 t, int count) {
    const T* p = base + c * channel + t * time;
    if (VECTOR && count == GROUP) {
#pragma unroll
        for (int i = 0; i < Group<T>::PIECES; i++) ((Raw*)group.v)[i] = ((const Raw*)p)[i];
        return;
    }
    const i64 step = ROWS == 0 ? time : channel;
#pragma unroll
    for (int i = 0; i < GROUP; i++) {
        T zero = {0};
        group.v[i] = i < count ? p[i * step] : zero;
    }
}

template <bool VECTOR, typename T>
__device__ __forceinline__ void load_group(float* v, const T* base, i64 channel, i64 time, int c, i64 t, int count) {
    Group<T> group;
    fetch_group<VECTOR>(group, base, channel, time, c, t, count);
#pragma unroll
    for (int i = 0; i < GROUP; i++) v[i] = value(group.v[i]);
}

template <bool VECTOR, typename T>
__device__ __forceinline__ void store_group(T* base, const float* v, i64 channel, i64 time, int c, i64 t, int count) {
    T* p = base + c * channel + t * time;
    if (VECTOR && count == GROUP) {
        Group<T> group;
#pragma unroll
        for (int i = 0; i < GROUP; i++) narrow(group.v[i], v[i]);
#pragma unroll
        for (int i = 0; i < Group<T>::PIECES; i++) ((Raw*)p)[i] = ((const Raw*)group.v)[i];
        return;
    }
    const i64 step = ROWS == 0 ? time : channel;
#pragma unroll
    for (int i = 0; i < GROUP; i++) if (i < count) narrow(p[i * step], v[i]);
}

// --- scalar functions ---

__device__ __forceinline__ float exp_(float x) {
#if PRECISE
    return exp2_(x * LOG2E);
#else
    return exp2_(fmaf(x, LOG2E, EXP2_SHIFT));
#endif
}
// log(1 + exp(x)) to float32 accuracy, relative, for every x: with e = exp(-|x|), max(x, 0) + 2 artanh(e / (2 + e)).
__device__ __forceinline__ float softplus_(float x) {
    const float e = exp_(-fabsf(x));
    const float s = e * rcp_(2.f + e), q = s * s;
#if PRECISE
    float p = 1.f / 17.f + q * (1.f / 19.f);
    p = 1.f / 15.f + q * p; p = 1.f / 13.f + q * p; p = 1.f / 11.f + q * p; p = 1.f / 9.f + q * p;
#else  // to 1e-7
    float p = 1.f / 9.f + q * (1.f / 11.f);
#endif
    p = 1.f / 7.f + q * p; p = 1.f / 5.f + q * p; p = 1.f / 3.f + q * p;
    return (x > 0.f ? x : x != x ? x : 0.f) + 2.f * s * (1.f + q * p);
}
__device__ __forceinline__ float sigmoid_(float x) { return rcp_(1.f + exp_(-x)); }
__device__ __forceinline__ float step_size(float raw, float bias) {
#if HAS_BIAS
    raw += bias;
#endif
#if SOFTPLUS
    raw = softplus_(raw);
#endif
    return raw;
}
__device__ __forceinline__ float step_slope(float raw, float bias) {  // derivative of the above
#if HAS_BIAS
    raw += bias;
#endif
#if SOFTPLUS
    const float e = exp_(-fabsf(raw));
    return (raw >= 0.f ? 1.f : e) * rcp_(1.f + e);
#else
    return 1.f;
#endif
}

// --- sums across lanes ---

__device__ __forceinline__ float swap(float x, int mask) { return __shfl_xor_sync(ALL, x, mask); }

// The sum over COUNT lanes, neighbours, to all of them.
template <int COUNT> __device__ __forceinline__ float sum_sharers(float x) {
#pragma unroll
    for (int mask = 1; mask < COUNT; mask *= 2) x += swap(x, mask);
    return x;
}

// Lanes: the lowest two bits and those above 4 P count channels, those between the P groups of four states.
__device__ __forceinline__ int lane_quad(int lane) { return lane / 4 % P; }
__device__ __forceinline__ int lane_channel(int lane) { return lane % 4 + lane / (4 * P) * 4; }

// Sums over the P lanes of a channel of 4 values each: value k P + lane_quad of them stays here as v[k], k < 4 / P.
__device__ __forceinline__ void sum_states(float* v, int lane) {
#if P >= 2
    const bool odd = lane & 4;
    v[0] = (odd ? v[1] : v[0]) + swap(odd ? v[0] : v[1], 4);
    v[1] = (odd ? v[3] : v[2]) + swap(odd ? v[2] : v[3], 4);
#endif
#if P >= 4
    const bool upper = lane & 8;
    v[0] = (upper ? v[1] : v[0]) + swap(upper ? v[0] : v[1], 8);
#endif
}

// The gradients of B and C of four steps: 8 values of each lane (4 states of B, then of C) and step, to be summed over the warp's
// channels. Lane `from` ends with four sums: number k is that of step(from, k) and of column(from, k), n for B and 4 P + n for C.
#define TENSOR_CORES (P == 4 && !PRECISE)
struct Selectors {
#if TENSOR_CORES
    // d += a b, a 16 x 8 and b 8 x 8: lanes / 4 are a's rows, twice, lanes % 4 its columns, twice: sums over lanes % 4 are columns
    // of d. Product m has ones in b's column 2 m for the first four rows and in 2 m + 1 for the others, zeros elsewhere, and adds
    // to d what lanes % 4 = m then hold: d[0..3], the sums of the values v[0..3].
    float d[2][4];
    unsigned ones[4][2];
    __device__ __forceinline__ void prepare(int lane) {
#pragma unroll
        for (int m = 0; m < 4; m++) {
            ones[m][0] = lane / 4 == 2 * m ? 0x3f800000u : 0u;
            ones[m][1] = lane / 4 == 2 * m + 1 ? 0x3f800000u : 0u;
        }
    }
    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int k = 0; k < 8; k++) d[k / 4][k % 4] = 0.f;
    }
    __device__ __forceinline__ void add(int step, float* v, int lane) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            unsigned a[4];
            unsigned rest[4];  // the tensor cores read 10 bits of a mantissa: first what these leave, then these
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const float x = v[4 * half + k];
                a[k % 2 * 2 + k / 2] = __float_as_uint(x) & 0xffffe000u;
                rest[k % 2 * 2 + k / 2] = __float_as_uint(x - __uint_as_float(a[k % 2 * 2 + k / 2]));
            }
            product(d[step / 2], rest, ones[step % 2 * 2 + half]);
            product(d[step / 2], a, ones[step % 2 * 2 + half]);
        }
    }
    __device__ __forceinline__ Four finish(int lane) {  // the warp's other four channels
        const bool upper = lane & 16;
        Four s;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            s.v[k] = (upper ? d[1][k] : d[0][k]) + swap(upper ? d[0][k] : d[1][k], 16);
        }
        return s;
    }
    // Lane `from`: four states of one step.
    static __device__ __forceinline__ int step(int from, int k) { return from / 16 * 2 + from % 4 / 2; }
    static __device__ __forceinline__ int column(int from, int k) { return from % 2 * 4 * P + 4 * lane_quad(from) + k; }
#else
    Four s;
    __device__ __forceinline__ void prepare(int lane) {}
    __device__ __forceinline__ void clear() {}
    __device__ __forceinline__ void add(int step, float* w, int lane) {
        const bool a = lane & 1, b = lane & 2, c = lane & (4 * P);
#pragma unroll
        for (int j = 0; j < 4; j++) w[j] = (a ? w[j + 4] : w[j]) + swap(a ? w[j] : w[j + 4], 1);
#pragma unroll
        for (int j = 0; j < 2; j++) w[j] = (b ? w[j + 2] : w[j]) + swap(b ? w[j] : w[j + 2], 2);
        float sum = (c ? w[1] : w[0]) + swap(c ? w[0] : w[1], 4 * P);
#pragma unroll
        for (int mask = 8 * P; mask < 32; mask *= 2) sum += swap(sum, mask);
        s.v[step] = sum;
    }
    __device__ __forceinline__ Four finish(int lane) { return s; }
    // Lane `from`: four steps of one state.
    static __device__ __forceinline__ int step(int from, int k) { return k; }
    static __device__ __forceinline__ int column(int from, int k) {
        return (from & 1) * 4 * P + 4 * lane_quad(from) + (from & 2) + (from / (4 * P) & 1);
    }
#endif
};

// --- four states of a channel ---

// exp(d A) from A log2 e. In float32 what its two roundings lose is put back (PRECISE): they would leave |d A| units of the last place.
struct Rates {
    Four A2;
#if PRECISE
    Four rest;  // ln 2 (A log2 e - A2)
#endif
};
__device__ __forceinline__ float decay_(float d, const Rates& r, int j) {
#if PRECISE
    const float x = d * r.A2.v[j], a = exp2_(x);
    return fmaf(a, fmaf(d, r.rest.v[j], LN2 * fmaf(d, r.A2.v[j], -x)), a);
#else
    return exp2_(fmaf(d, r.A2.v[j], EXP2_SHIFT));
#endif
}

struct Place { int c, quad; bool in; };  // this lane's channel within the block, its four states, is there such a channel

__device__ __forceinline__ Place own_place(int lane, int warp, int first, int width) {
    Place p = {warp * (32 / P) + lane_channel(lane), lane_quad(lane), false};
    p.in = first + p.c < width;
    return p;
}
__device__ __forceinline__ Four load_states(const float* row, const Place& p) {
    Four v = {{0.f, 0.f, 0.f, 0.f}};
    if (!p.in) return v;
    if (N % 4 == 0) {
        if (4 * p.quad < N) v = load4(row + 4 * p.quad);
        return v;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) if (4 * p.quad + j < N) v.v[j] = row[4 * p.quad + j];
    return v;
}
__device__ __forceinline__ void store_states(float* row, const Place& p, const Four& v) {
    if (!p.in) return;
    if (N % 4 == 0) {
        if (4 * p.quad < N) store4(row + 4 * p.quad, v);
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) if (4 * p.quad + j < N) row[4 * p.quad + j] = v.v[j];
}

__device__ __forceinline__ Rates load_rates(const float* row, const Place& p) {
    Rates r;
    r.A2 = load_states(row, p);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const float A = r.A2.v[j];
        r.A2.v[j] = fmaxf(A * LOG2E, -1e30f);  // -inf times a step of size 0 would be NaN
#if PRECISE
        r.rest.v[j] = A < -1e29f ? 0.f : LN2 * (fmaf(A, LOG2E, -r.A2.v[j]) + A * 1.925963033500e-8f);
#endif
    }
    return r;
}

// A thread's share of B or C of SPAN steps, laid out as rows of 4 P floats; 0 beyond the end and in added states. NEIGHBOURS: its
// steps are neighbours in memory.
template <int SPAN, bool NEIGHBOURS> struct Selector {
    static const bool ALONG_TIME = NEIGHBOURS && THREADS >= SPAN;
    static const int COUNT = SPAN * 4 * P / THREADS;
    int n, t;
    i64 first, time, step;
    __device__ __forceinline__ Selector(int tid, i64 state, i64 time) : time(time) {
        n = ALONG_TIME ? tid / SPAN : tid % (4 * P);
        t = ALONG_TIME ? tid % SPAN : tid / (4 * P);
        first = n * state + t * time;
        step = ALONG_TIME ? states_on(1) * state : steps_on(1) * time;
    }
    // How many states, and how many steps, the k-th value lies behind the first.
    static __device__ __forceinline__ int states_on(int k) { return ALONG_TIME ? k * (THREADS / SPAN) : 0; }
    static __device__ __forceinline__ int steps_on(int k) { return ALONG_TIME ? 0 : k * (THREADS / (4 * P)); }
    template <typename T> __device__ __forceinline__ void fetch(T* values, const T* base, i64 t0, i64 stop) const {
        const T* from = base + first + t0 * time;
        const T zero = {0};
#pragma unroll
        for (int k = 0; k < COUNT; k++, from += step)
            values[k] = n + states_on(k) < N && t0 + t + steps_on(k) < stop ? *from : zero;
    }
    template <typename T> __device__ __forceinline__ void store(float* to, const T* values) const {
#pragma unroll
        for (int k = 0; k < COUNT; k++) to[(t + steps_on(k)) * 4 * P + n + states_on(k)] = value(values[k]);
    }
    template <typename T> __device__ __forceinline__ void load(float* to, const T* base, i64 t0, i64 stop) const {
        T values[COUNT];
        fetch(values, base, t0, stop);
        store(to, values);
    }
};

#if PACKED
// A segment of a packed sequence: its row, the sequence's number, which of its segments it is, its steps of time, and how many chunks
// of KEEP steps lie before it. Every sequence is a chain of segments by itself, so nothing crosses a border.
struct alignas(16) Item { int row, sequence, part, parts, begin, stop, chunk, unused; };
#endif
struct Where {
    int tid, lane, warp, first, part, block; i64 b, slot, begin, stop;
#if PACKED
    Item item;
#endif
};
// Of a block's sequence: its number, its segments, the slot of the first of them, and the place of the state kept before step t.
#if PACKED
#define SEQUENCE w.item.sequence
#define PARTS w.item.parts
#define FIRST_SLOT (w.slot - w.part)
#define KEPT_AT(of_row, t) (w.item.chunk + ((t) - w.begin) / KEEP)
#define FROM_KEPT(t) ((t) - w.begin)
#else
#define SEQUENCE w.b
#define PARTS p.segments
#define FIRST_SLOT w.b * p.segments
#define KEPT_AT(of_row, t) (w.b * (of_row) + (t) / KEEP)  // of_row: chunks of a whole row
#define FROM_KEPT(t) t
#endif

__device__ __forceinline__ Where where(const Args& p) {
    Where w;
    w.tid = threadIdx.x; w.lane = w.tid & 31; w.warp = w.tid >> 5;
    w.block = blockIdx.x % p.blocks;
#if PACKED
    w.slot = blockIdx.x / p.blocks;
    w.item = p.items[w.slot];
    w.part = w.item.part; w.b = w.item.row;
    w.begin = w.item.begin; w.stop = w.item.stop;
#elif RELAY
    // First what all sequences begin with, then what follows: a block waits for one that was started long before.
    const int turn = blockIdx.x / p.chains_of, chain = blockIdx.x % p.chains_of;
#ifdef BACKWARD
    w.part = p.segments - 1 - turn;
#else
    w.part = turn;
#endif
    w.block = chain % p.blocks;
    w.b = chain / p.blocks;
#else
    w.part = blockIdx.x / p.blocks % p.segments;
    w.b = blockIdx.x / p.blocks / p.segments;
#endif
    w.first = w.block * CHANNELS;
#if !PACKED
    w.slot = w.b * p.segments + w.part;
    w.begin = (i64)w.part * p.segment;
    w.stop = w.begin + p.segment < p.length ? w.begin + p.segment : p.length;
#endif
    return w;
}

// --- between segments ---

// What enters a segment: e <- exp(A total) e + local over the segments before it in time, or after it where REVERSE (gradients of
// states). e enters the first of them. Every block goes through them by itself, which is a few reads; a kernel in between would
// cost a launch and leave the device idle.
template <bool REVERSE>
__device__ __forceinline__ Four entering(const Args& p, const Where& w, const Place& own, const Rates& A, Four e) {
    const i64 plane = (i64)p.width * N, state = (i64)(w.first + own.c) * N;
    const int count = REVERSE ? PARTS - 1 - w.part : w.part;
#pragma unroll 4
    for (int i = 0; i < count; i++) {
        const i64 slot = FIRST_SLOT + (REVERSE ? PARTS - 1 - i : i);
        const Four local = load_states((const float*)p.local + slot * plane + state, own);
        const float total = own.in ? ((const float*)p.total)[slot * p.width + w.first + own.c] : 0.f;
#pragma unroll
        for (int j = 0; j < 4; j++) e.v[j] = exp2_(total * A.A2.v[j]) * e.v[j] + local.v[j];
    }
    return e;
}

// --- one segment after the other, where there are more blocks than the device holds ---

#if RELAY
// The state that a block left, by the block that goes on from it. Segments of all sequences take turns on the device, so that its last
// blocks are short ones.
__device__ __forceinline__ Four take_over(const Args& p, const Where& w, const Place& own, i64 slot) {
    if (w.tid == 0) while (!load_acquire(p.flags + slot * p.blocks + w.block)) {}
    __syncthreads();
    return load_states((const float*)p.local + (slot * p.width + w.first + own.c) * N, own);
}
__device__ __forceinline__ void hand_over(const Args& p, const Where& w, const Place& own, const Four& state) {
    store_states((float*)p.local + (w.slot * p.width + w.first + own.c) * N, own, state);
    __syncthreads();
    if (w.tid == 0) store_release(p.flags + w.slot * p.blocks + w.block, 1);
}
#endif

// --- forward ---

#ifdef FORWARD
// With WRITE: out, the last state and, with KEEP_STATES, the states before every KEEP-th step, from start (batch, D, N). Without:
// what the segment leaves in the state by itself, local (batch, segments, D, N), and total = sum of dt (batch, segments, D);
// CUT says that these are there.
//
// One barrier a tile: while a tile's recurrence runs on one buffer, the next tile is laid out in the other.
#if FORWARD_BLOCKS
#define FORWARD_BOUNDS __launch_bounds__(THREADS, FORWARD_BLOCKS)
#else
#define FORWARD_BOUNDS __launch_bounds__(THREADS)
#endif
#ifndef FORWARD_GROUPS
#define FORWARD_GROUPS 2  // groups of four steps that are unrolled
#endif
extern "C" __global__ void FORWARD_BOUNDS scan_forward(const Args p) {
    const int ROW_OF_TILE = TILE + PAD, GROUPS = GROUPS_OF(TILE), SELECTED = TILE * 4 * P / THREADS;
    alignas(16) __shared__ float sdt[2][CHANNELS * ROW_OF_TILE], sx[2][CHANNELS * ROW_OF_TILE];  // sx: x = dt u, later y
    alignas(16) __shared__ float sB[2][TILE * 4 * P], sC[2][TILE * 4 * P];
    alignas(16) __shared__ float sbias[CHANNELS], sD[CHANNELS];
    const Where w = where(p);
    const int width = p.width - w.first;
    const Place own = own_place(w.lane, w.warp, w.first, p.width);
    const i64 plane = (i64)p.width * N;
    const i64 state = (i64)(w.first + own.c) * N;

    const u_t* u = (const u_t*)p.u + w.b * p.u_batch + w.first * p.u_channel;
    const dt_t* dt = (const dt_t*)p.dt + w.b * p.dt_batch + w.first * p.dt_channel;
    const z_t* z = (const z_t*)p.z + w.b * p.z_batch + w.first * p.z_channel;
    u_t* out = (u_t*)p.out + w.b * p.out_batch + w.first * p.out_channel;
    const b_t* B = (const b_t*)p.B + w.b * p.B_batch;
    const c_t* C = (const c_t*)p.C + w.b * p.C_batch;

    const Rates A = load_rates((const float*)p.A + state, own);
    Four h = {{0.f, 0.f, 0.f, 0.f}};
#if HAS_START && WRITE
    h = load_states((const float*)p.start + SEQUENCE * plane + state, own);
#endif
#if DEPENDENT
    wait_for_kernel_ahead();
#endif
#if CUT && WRITE
    h = entering<false>(p, w, own, A, h);
#endif
#if RELAY
    if (w.part > 0) h = take_over(p, w, own, w.slot - 1);
#endif
    if (w.tid < CHANNELS) {
        const bool in = w.tid < width;
        sbias[w.tid] = HAS_BIAS && in ? ((const float*)p.bias)[w.first + w.tid] : 0.f;
        sD[w.tid] = HAS_D && in ? ((const float*)p.D)[w.first + w.tid] : 0.f;
    }
    float total = 0.f;
#if TRIGGER
    let_next_kernel_begin();
#endif
    Group<u_t> ru[GROUPS];
    Group<dt_t> rdt[GROUPS];
    b_t rB[SELECTED];
    c_t rC[SELECTED];
    const Selector<TILE, B_ALONG_TIME> of_B(w.tid, p.B_state, p.B_time);
    const Selector<TILE, C_ALONG_TIME> of_C(w.tid, p.C_state, p.C_time);

    auto fetch = [&](i64 t0) {  // on their way while the recurrence runs
#pragma unroll
        for (int k = 0; k < GROUPS; k++) {
            int c, t;
            place<TILE>(w.tid, k, c, t);
            const int count = inside(c, t0 + t, width, w.stop);
            fetch_group<VECTOR_U>(ru[k], u, p.u_channel, p.u_time, c, t0 + t, count);
            fetch_group<VECTOR_DT>(rdt[k], dt, p.dt_channel, p.dt_time, c, t0 + t, count);
        }
        of_B.fetch(rB, B, t0, w.stop);
        if (WRITE) of_C.fetch(rC, C, t0, w.stop);
    };
    auto lay_out = [&](i64 t0, int buffer) {
#pragma unroll
        for (int k = 0; k < GROUPS; k++) {
            int c, t;
            place<TILE>(w.tid, k, c, t);
            const int count = inside(c, t0 + t, width, w.stop);
            alignas(16) float bias[GROUP], d[GROUP], x[GROUP];
            of_channels(sbias, c, bias);
#pragma unroll
            for (int i = 0; i < GROUP; i++) {
                d[i] = i < count ? step_size(value(rdt[k].v[i]), bias[i]) : 0.f;
                x[i] = d[i] * value(ru[k].v[i]);
            }
            put<TILE>(sdt[buffer], c, t, d);
            put<TILE>(sx[buffer], c, t, x);
        }
        of_B.store(sB[buffer], rB);
        if (WRITE) of_C.store(sC[buffer], rC);
    };

    fetch(w.begin);
    __syncthreads();
    lay_out(w.begin, 0);
    if (w.begin + TILE < w.stop) fetch(w.begin + TILE);
    __syncthreads();
    int buffer = 0;
    for (i64 t0 = w.begin; t0 < w.stop; t0 += TILE, buffer ^= 1) {
        const i64 next = t0 + TILE;
        if (next < w.stop) {
            lay_out(next, buffer ^ 1);
            if (next + TILE < w.stop) fetch(next + TILE);
        }
#if WRITE
        Group<u_t> ou[GROUPS];
        Group<z_t> oz[GROUPS];
#pragma unroll
        for (int k = 0; k < GROUPS; k++) {  // again, for the output
            int c, t;
            place<TILE>(w.tid, k, c, t);
            const int count = inside(c, t0 + t, width, w.stop);
            if (HAS_D) fetch_group<VECTOR_U>(ou[k], u, p.u_channel, p.u_time, c, t0 + t, count);
            if (HAS_Z) fetch_group<VECTOR_Z>(oz[k], z, p.z_channel, p.z_time, c, t0 + t, count);
        }
#endif
#if KEEP_STATES && WRITE
        if (FROM_KEPT(t0) % KEEP == 0) store_states((float*)p.kept + KEPT_AT((p.length + KEEP - 1) / KEEP, t0) * plane + state, own, h);
#endif
        const float *const rows_dt = sdt[buffer], *const rows_B = sB[buffer] + 4 * own.quad, *const rows_C = sC[buffer] + 4 * own.quad;
        float* const rows_x = sx[buffer];
        const int groups = next <= w.stop ? TILE / 4 : (int)((w.stop - t0 + 3) / 4);
#pragma unroll FORWARD_GROUPS
        for (int g = 0; g < groups; g++) {
            const int here = at<TILE>(own.c, 4 * g);
            const Four d4 = load4(rows_dt + here), x4 = load4(rows_x + here);
            float y[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const Four b = load4(rows_B + (4 * g + i) * 4 * P);
#if WRITE
                const Four c = load4(rows_C + (4 * g + i) * 4 * P);
#else
                total += d4.v[i];
#endif
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    h.v[j] = decay_(d4.v[i], A, j) * h.v[j] + x4.v[i] * b.v[j];
#if WRITE
                    y[i] += h.v[j] * c.v[j];
#endif
                }
            }
#if WRITE
            sum_states(y, w.lane);
            __syncwarp();
#pragma unroll
            for (int k = 0; k < 4 / P; k++) rows_x[here + k * P + own.quad] = y[k];
#endif
        }
        __syncthreads();
#if WRITE
#pragma unroll
        for (int k = 0; k < GROUPS; k++) {
            int c, t;
            place<TILE>(w.tid, k, c, t);
            const int count = inside(c, t0 + t, width, w.stop);
            alignas(16) float v[GROUP], skip[GROUP];
            get<TILE>(rows_x, c, t, v);
            of_channels(sD, c, skip);
#pragma unroll
            for (int i = 0; i < GROUP; i++) {
                if (HAS_D) v[i] += skip[i] * value(ou[k].v[i]);
                if (HAS_Z) v[i] *= value(oz[k].v[i]) * sigmoid_(value(oz[k].v[i]));
            }
            store_group<VECTOR_OUT>(out, v, p.out_channel, p.out_time, c, t0 + t, count);
        }
#endif
    }
#if RELAY
    if (w.part < PARTS - 1) hand_over(p, w, own, h);
#endif
#if WRITE
    if (w.part == PARTS - 1) store_states((float*)p.last + SEQUENCE * plane + state, own, h);
#else
    store_states((float*)p.local + w.slot * plane + state, own, h);
    if (own.in && own.quad == 0) ((float*)p.total)[w.slot * p.width + w.first + own.c] = total;
#endif
}
#endif

// --- backward ---

#ifdef ADJOINT
// What a segment's outputs contribute to the gradient of the state before it, local, and total = sum of dt.
extern "C" __global__ void __launch_bounds__(THREADS) scan_adjoint(const Args p) {
    alignas(16) __shared__ float sdt[CHANNELS * (TILE + PAD)], sdy[CHANNELS * (TILE + PAD)];
    alignas(16) __shared__ float sC[TILE * 4 * P];
    alignas(16) __shared__ float sbias[CHANNELS];
    const Where w = where(p);
    const int width = p.width - w.first;
    const Place own = own_place(w.lane, w.warp, w.first, p.width);
    const i64 plane = (i64)p.width * N;
    const i64 state = (i64)(w.first + own.c) * N;
    const dt_t* dt = (const dt_t*)p.dt + w.b * p.dt_batch + w.first * p.dt_channel;
    const z_t* z = (const z_t*)p.z + w.b * p.z_batch + w.first * p.z_channel;
    const g_t* d_out = (const g_t*)p.d_out + w.b * p.g_batch + w.first * p.g_channel;
    const c_t* C = (const c_t*)p.C + w.b * p.C_batch;
    const Selector<TILE, C_ALONG_TIME> of_C(w.tid, p.C_state, p.C_time);
    const Rates A = load_rates((const float*)p.A + state, own);
    if (w.tid < CHANNELS) sbias[w.tid] = HAS_BIAS && w.tid < width ? ((const float*)p.bias)[w.first + w.tid] : 0.f;
#if TRIGGER
    let_next_kernel_begin();
#endif
    Four g = {{0.f, 0.f, 0.f, 0.f}};
    float total = 0.f;
    const i64 tiles = (w.stop - w.begin + TILE - 1) / TILE;
    for (i64 tile = tiles - 1; tile >= 0; tile--) {
        const i64 t0 = w.begin + tile * TILE;
        __syncthreads();
#pragma unroll
        for (int k = 0; k < GROUPS_OF(TILE); k++) {
            int c, t;
            place<TILE>(w.tid, k, c, t);
            const int count = inside(c, t0 + t, width, w.stop);
            alignas(16) float rdt[GROUP], rz[GROUP], rg[GROUP], bias[GROUP];
            load_group<VECTOR_DT>(rdt, dt, p.dt_channel, p.dt_time, c, t0 + t, count);
            if (HAS_Z) load_group<VECTOR_Z>(rz, z, p.z_channel, p.z_time, c, t0 + t, count);
            if (HAS_D_OUT) load_group<VECTOR_G>(rg, d_out, p.g_channel, p.g_time, c, t0 + t, count);
            of_channels(sbias, c, bias);
#pragma unroll
            for (int i = 0; i < GROUP; i++) {
                rdt[i] = i < count ? step_size(rdt[i], bias[i]) : 0.f;
                if (!HAS_D_OUT) rg[i] = 0.f;
                else if (HAS_Z) rg[i] *= rz[i] * sigmoid_(rz[i]);
            }
            put<TILE>(sdt, c, t, rdt);
            put<TILE>(sdy, c, t, rg);
        }
        of_C.load(sC, C, t0, w.stop);
        __syncthreads();
        const int groups = t0 + TILE <= w.stop ? TILE / 4 : (int)((w.stop - t0 + 3) / 4);
#pragma unroll 2
        for (int q = groups - 1; q >= 0; q--) {
            const Four d4 = load4(sdt + at<TILE>(own.c, 4 * q)), g4 = load4(sdy + at<TILE>(own.c, 4 * q));
#pragma unroll
            for (int i = 3; i >= 0; i--) {
                const Four c = load4(sC + (4 * q + i) * 4 * P + 4 * own.quad);
                total += d4.v[i];
#pragma unroll
                for (int j = 0; j < 4; j++) g.v[j] = decay_(d4.v[i], A, j) * (g.v[j] + g4.v[i] * c.v[j]);
            }
        }
    }
    store_states((float*)p.local + w.slot * plane + state, own, g);
    if (own.in && own.quad == 0) ((float*)p.total)[w.slot * p.width + w.first + own.c] = total;
}
#endif

#ifdef BACKWARD
#define READS_STATES (NEED_DT || NEED_A || NEED_C || NEED_Z || NEED_BIAS)
#define NEED_DX (NEED_U || NEED_DT || NEED_BIAS)
#define NEED_Q (NEED_A || NEED_DT || NEED_BIAS)
#define NEED_SELECTORS (NEED_B || NEED_C)
#define ROW (KEEP + PAD)
#define SELECTOR_ROW (8 * P)

// Bytes of dynamic shared memory: dt, x, dy, y by channel and step; B, C by step; per warp 128 floats for each 4 steps; bias, D, dD.
#define BACKWARD_SHARED (4 * (4 * CHANNELS * ROW + 2 * KEEP * 4 * P + P * KEEP / 4 * 128 + 4 * CHANNELS))

// Gradients of one (sequence, segment of time, block of channels). kept_in: the forward pass's states before every KEEP-th step;
// end (batch, D, N): gradient of the last state; with CUT, local and total are what ADJOINT left. To be added up outside: dA (batch, segments, D, N), dD and
// dbias (batch, segments, D), shares (batch, blocks, L, 8 P) of dB and dC.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM) scan_backward(const Args p) {
    DYNAMIC_SHARED(Four, shared_);
    float* const sdt = (float*)shared_;
    float* const sx = sdt + CHANNELS * ROW;       // x = dt u; later dx, then dy u
    float* const sdy = sx + CHANNELS * ROW;       // dy; later the gradient of dt, from A, then all of it
    float* const sy = sdy + CHANNELS * ROW;
    float* const sB = sy + CHANNELS * ROW;
    float* const sC = sB + KEEP * 4 * P;
    float* const sh = sC + KEEP * 4 * P;          // states before each 4 steps; later these steps' sums over the warp's channels
    float* const sbias = sh + P * KEEP / 4 * 128;
    float* const sD = sbias + CHANNELS;
    Sum* const sdD = (Sum*)(sD + CHANNELS);       // of the chunks so far
    const Where w = where(p);
    const int width = p.width - w.first;
    const Place own = own_place(w.lane, w.warp, w.first, p.width);
    const i64 plane = (i64)p.width * N;
    const i64 state = (i64)(w.first + own.c) * N;
    const i64 chunks_of_row = ((i64)p.length + KEEP - 1) / KEEP;
    const i64 base = w.b * p.out_batch + w.first * p.out_channel;
    const int GROUPS = GROUPS_OF(KEEP);

    const u_t* u = (const u_t*)p.u + w.b * p.u_batch + w.first * p.u_channel;
    const dt_t* dt = (const dt_t*)p.dt + w.b * p.dt_batch + w.first * p.dt_channel;
    const z_t* z = (const z_t*)p.z + w.b * p.z_batch + w.first * p.z_channel;
    const g_t* d_out = (const g_t*)p.d_out + w.b * p.g_batch + w.first * p.g_channel;
    const b_t* B = (const b_t*)p.B + w.b * p.B_batch;
    const c_t* C = (const c_t*)p.C + w.b * p.C_batch;
    const Selector<KEEP, B_ALONG_TIME> of_B(w.tid, p.B_state, p.B_time);
    const Selector<KEEP, C_ALONG_TIME> of_C(w.tid, p.C_state, p.C_time);

    const Rates A = load_rates((const float*)p.A + state, own);
    Four g = {{0.f, 0.f, 0.f, 0.f}}, dA = {{0.f, 0.f, 0.f, 0.f}};
#if HAS_END
    g = load_states((const float*)p.end + SEQUENCE * plane + state, own);
#endif
#if DEPENDENT
    wait_for_kernel_ahead();
#endif
#if CUT
    g = entering<true>(p, w, own, A, g);
#endif
#if RELAY
    if (w.part < PARTS - 1) g = take_over(p, w, own, w.slot + 1);
#endif
    if (w.tid < CHANNELS) {
        const bool in = w.tid < width;
        sbias[w.tid] = HAS_BIAS && in ? ((const float*)p.bias)[w.first + w.tid] : 0.f;
        sD[w.tid] = HAS_D && in ? ((const float*)p.D)[w.first + w.tid] : 0.f;
        sdD[w.tid] = {0.f, 0.f};
    }
#if ROWS == 0
    const int SHARERS = KEEP / GROUP;  // threads, neighbours in a warp, that share a channel's steps where time is summed over
    float part_bias[GROUPS];  // of each group's channel, its share of the steps
#pragma unroll
    for (int k = 0; k < GROUPS; k++) part_bias[k] = 0.f;
#else
    const int SHARERS = P;
    float part_bias = 0.f;  // of channel tid / P, its share of the steps
#endif
    Selectors selectors;
    selectors.prepare(w.lane);
    float* const mine = sh + w.warp * (KEEP / 4 * 128) + 4 * w.lane;

    for (i64 chunk = (w.stop - w.begin + KEEP - 1) / KEEP - 1; chunk >= 0; chunk--) {
        const i64 t0 = w.begin + chunk * KEEP;
        __syncthreads();
#pragma unroll
        for (int k = 0; k < GROUPS; k++) {
            int c, t;
            place<KEEP>(w.tid, k, c, t);
            const int count = inside(c, t0 + t, width, w.stop);
            alignas(16) float ru[GROUP], rdt[GROUP], rz[GROUP], rg[GROUP] = {0.f, 0.f, 0.f, 0.f}, bias[GROUP];
            load_group<VECTOR_U>(ru, u, p.u_channel, p.u_time, c, t0 + t, count);
            load_group<VECTOR_DT>(rdt, dt, p.dt_channel, p.dt_time, c, t0 + t, count);
            if (HAS_Z) load_group<VECTOR_Z>(rz, z, p.z_channel, p.z_time, c, t0 + t, count);
            if (HAS_D_OUT) load_group<VECTOR_G>(rg, d_out, p.g_channel, p.g_time, c, t0 + t, count);
            of_channels(sbias, c, bias);
#pragma unroll
            for (int i = 0; i < GROUP; i++) {
                rdt[i] = i < count ? step_size(rdt[i], bias[i]) : 0.f;
                ru[i] *= rdt[i];
                if (HAS_Z && HAS_D_OUT) rg[i] *= rz[i] * sigmoid_(rz[i]);
            }
            put<KEEP>(sdt, c, t, rdt);
            put<KEEP>(sx, c, t, ru);
            put<KEEP>(sdy, c, t, rg);
        }
        of_B.load(sB, B, t0, w.stop);
        of_C.load(sC, C, t0, w.stop);
        __syncthreads();
#if PREFETCH
        // The rows of the next chunk, on their way to the L2 cache while this one is worked on.
        if (chunk > 0) {
#pragma unroll
            for (int k = 0; k < GROUPS; k++) {
                int c, t;
                place<KEEP>(w.tid, k, c, t);
                if (inside(c, t0 + t - KEEP, width, w.stop) == 0) continue;
                prefetch_(u + c * p.u_channel + (t0 + t - KEEP) * p.u_time);
                prefetch_(dt + c * p.dt_channel + (t0 + t - KEEP) * p.dt_time);
                if (HAS_Z) prefetch_(z + c * p.z_channel + (t0 + t - KEEP) * p.z_time);
                if (HAS_D_OUT) prefetch_(d_out + c * p.g_channel + (t0 + t - KEEP) * p.g_time);
            }
        }
#endif

        const int groups = t0 + KEEP <= w.stop ? KEEP / 4 : (int)((w.stop - t0 + 3) / 4);
#if READS_STATES
        // The states before each 4 steps, again from the kept one.
        Four h = load_states((const float*)p.kept_in + KEPT_AT(chunks_of_row, t0) * plane + state, own);
#if RECOMPUTED_GROUPS
#pragma unroll RECOMPUTED_GROUPS
#endif
        for (int q = 0; q < groups - 1; q++) {
            store4(mine + q * 128, h);
            const Four d4 = load4(sdt + at<KEEP>(own.c, 4 * q)), x4 = load4(sx + at<KEEP>(own.c, 4 * q));
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const Four b = load4(sB + (4 * q + i) * 4 * P + 4 * own.quad);
#pragma unroll
                for (int j = 0; j < 4; j++) h.v[j] = decay_(d4.v[i], A, j) * h.v[j] + x4.v[i] * b.v[j];
            }
        }
#endif
        for (int q = groups - 1; q >= 0; q--) {
            const Four d4 = load4(sdt + at<KEEP>(own.c, 4 * q)), x4 = load4(sx + at<KEEP>(own.c, 4 * q));
            const Four g4 = load4(sdy + at<KEEP>(own.c, 4 * q));
            Four before[5], decay[4];
#if READS_STATES
            before[0] = h;
            if (q < groups - 1) before[0] = load4(mine + q * 128);
#endif
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const Four b = load4(sB + (4 * q + i) * 4 * P + 4 * own.quad);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    decay[i].v[j] = decay_(d4.v[i], A, j);
                    if (READS_STATES) before[i + 1].v[j] = decay[i].v[j] * before[i].v[j] + x4.v[i] * b.v[j];
                }
            }
            float y[4], dx[4], ddt[4];
            if (NEED_SELECTORS) selectors.clear();
#if PRECISE
            Four dA4 = {{0.f, 0.f, 0.f, 0.f}};  // first four steps, then all: the rounding of a long sum in one go would show
#else
            Four& dA4 = dA;
#endif
#pragma unroll
            for (int i = 3; i >= 0; i--) {
                const Four b = load4(sB + (4 * q + i) * 4 * P + 4 * own.quad), c = load4(sC + (4 * q + i) * 4 * P + 4 * own.quad);
                float wide[8];
                y[i] = dx[i] = ddt[i] = 0.f;
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    if (NEED_Z) y[i] += before[i + 1].v[j] * c.v[j];
                    wide[4 + j] = NEED_C ? g4.v[i] * before[i + 1].v[j] : 0.f;
                    g.v[j] += g4.v[i] * c.v[j];
                    wide[j] = NEED_B ? x4.v[i] * g.v[j] : 0.f;
                    if (NEED_DX) dx[i] += g.v[j] * b.v[j];
                    g.v[j] *= decay[i].v[j];
                    if (NEED_Q) {
                        const float s = g.v[j] * before[i].v[j];  // gradient of dt A
                        if (NEED_A) dA4.v[j] += s * d4.v[i];
                        if (NEED_DT || NEED_BIAS) ddt[i] += s * A.A2.v[j];
                    }
                }
                if (NEED_SELECTORS) selectors.add(i, wide, w.lane);
            }
#if PRECISE
            if (NEED_A)
#pragma unroll
                for (int j = 0; j < 4; j++) dA.v[j] += dA4.v[j];
#endif
            if (NEED_Z) sum_states(y, w.lane);
            if (NEED_DX) sum_states(dx, w.lane);
            if (NEED_DT || NEED_BIAS) sum_states(ddt, w.lane);
            __syncwarp();
#pragma unroll
            for (int k = 0; k < 4 / P; k++) {
                const int here = at<KEEP>(own.c, 4 * q + k * P + own.quad);
                if (NEED_Z) sy[here] = y[k];
                if (NEED_DX) sx[here] = dx[k];
                if (NEED_DT || NEED_BIAS) sdy[here] = ddt[k] * LN2;
            }
            if (NEED_SELECTORS) store4(mine + q * 128, selectors.finish(w.lane));
        }
        __syncthreads();

#if NEED_U || NEED_DT || NEED_Z || NEED_D || NEED_BIAS
#pragma unroll
        for (int k = 0; k < GROUPS; k++) {
            int c, t;
            place<KEEP>(w.tid, k, c, t);
            const int count = inside(c, t0 + t, width, w.stop);
            alignas(16) float ru[GROUP], rdt[GROUP], rz[GROUP], rg[GROUP], skip[GROUP], v[GROUP], dx[GROUP];
            if ((NEED_Z && HAS_D) || NEED_DT || NEED_BIAS || NEED_D) load_group<VECTOR_U>(ru, u, p.u_channel, p.u_time, c, t0 + t, count);
            if (HAS_D_OUT) load_group<VECTOR_G>(rg, d_out, p.g_channel, p.g_time, c, t0 + t, count);
            if (HAS_Z) load_group<VECTOR_Z>(rz, z, p.z_channel, p.z_time, c, t0 + t, count);
            of_channels(sD, c, skip);
            if (NEED_Z) get<KEEP>(sy, c, t, v);
#pragma unroll
            for (int i = 0; i < GROUP; i++) {
                if (!HAS_D_OUT) { rg[i] = v[i] = 0.f; continue; }
                if (!HAS_Z) continue;
                const float sigmoid = sigmoid_(rz[i]), given = rg[i];
                rg[i] *= rz[i] * sigmoid;  // from here on the gradient of y
                if (HAS_D && NEED_Z) v[i] += skip[i] * ru[i];
                if (NEED_Z) v[i] *= given * (sigmoid * (1.f + rz[i] * (1.f - sigmoid)));
            }
            if (NEED_Z) store_group<VECTOR_DZ>((z_t*)p.dz + base, v, p.out_channel, p.out_time, c, t0 + t, count);
            if (NEED_DX) get<KEEP>(sx, c, t, dx);
            if (NEED_U) {
                get<KEEP>(sdt, c, t, v);
#pragma unroll
                for (int i = 0; i < GROUP; i++) v[i] = HAS_D ? v[i] * dx[i] + skip[i] * rg[i] : v[i] * dx[i];
                store_group<VECTOR_OUT>((u_t*)p.du + base, v, p.out_channel, p.out_time, c, t0 + t, count);
            }
            if (NEED_DT || NEED_BIAS) {
                load_group<VECTOR_DT>(rdt, dt, p.dt_channel, p.dt_time, c, t0 + t, count);
                get<KEEP>(sdy, c, t, v);
                of_channels(sbias, c, skip);
#pragma unroll
                for (int i = 0; i < GROUP; i++) v[i] = i < count ? (v[i] + ru[i] * dx[i]) * step_slope(rdt[i], skip[i]) : 0.f;
#if ROWS == 0
                part_bias[k] += sum_group(v);
#else
                if (NEED_BIAS) put<KEEP>(sdy, c, t, v);
#endif
                if (NEED_DT) store_group<VECTOR_DDT>((dt_t*)p.ddt + base, v, p.out_channel, p.out_time, c, t0 + t, count);
            }
            if (NEED_D) {
#if ROWS == 0
                Sum sum = {0.f, 0.f};
#pragma unroll
                for (int i = 0; i < GROUP; i++) sum.add(rg[i] * ru[i]);
                sum.add_sharers<SHARERS>();
                if (w.tid % SHARERS == 0) { sdD[c].add(sum.high); sdD[c].low += sum.low; }
#else
#pragma unroll
                for (int i = 0; i < GROUP; i++) v[i] = rg[i] * ru[i];
                put<KEEP>(sx, c, t, v);
#endif
            }
        }
#endif
#if NEED_SELECTORS
        // Sums over the block's warps.
        float* shares = (float*)p.shares + ((w.b * p.blocks + w.block) * p.length + t0) * SELECTOR_ROW;
        for (int id = w.tid; id < groups * 32; id += THREADS) {
            const int q = id / 32, from = id % 32;
            if (8 * P < 32 && from >= 8 * P) continue;  // copies
            Four s = load4(sh + q * 128 + 4 * from);
#pragma unroll
            for (int other = 1; other < P; other++) {
                const Four more = load4(sh + other * (KEEP / 4 * 128) + q * 128 + 4 * from);
#pragma unroll
                for (int i = 0; i < 4; i++) s.v[i] += more.v[i];
            }
#if TENSOR_CORES
            const int t = 4 * q + Selectors::step(from, 0);
            if (t0 + t < w.stop) store4(shares + t * SELECTOR_ROW + Selectors::column(from, 0), s);
#else
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int t = 4 * q + Selectors::step(from, i);
                if (t0 + t < w.stop) shares[t * SELECTOR_ROW + Selectors::column(from, i)] = s.v[i];
            }
#endif
        }
#endif
#if (NEED_D || NEED_BIAS) && ROWS == 1
        __syncthreads();
        Sum sum = {0.f, 0.f};
        for (int q = w.tid % P; q < groups; q += P) {
            const int here = at<KEEP>(w.tid / P, 4 * q);
            if (NEED_D) {
                const Four v = load4(sx + here);
#pragma unroll
                for (int i = 0; i < 4; i++) sum.add(v.v[i]);
            }
            if (NEED_BIAS) { const Four v = load4(sdy + here); part_bias += v.v[0] + v.v[1] + (v.v[2] + v.v[3]); }
        }
        if (NEED_D) {
            sum.add_sharers<SHARERS>();
            if (w.tid % SHARERS == 0) { sdD[w.tid / P].add(sum.high); sdD[w.tid / P].low += sum.low; }
        }
#endif
    }
#if TRIGGER
    let_next_kernel_begin();
#endif
#if RELAY
    if (w.part > 0) hand_over(p, w, own, g);
#endif
#if NEED_A
    store_states((float*)p.dA + w.slot * plane + state, own, dA);
#endif
#if ROWS == 0
    if (NEED_BIAS)
#pragma unroll
    for (int k = 0; k < GROUPS; k++) {
        const float sum = sum_sharers<SHARERS>(part_bias[k]);
        const int c = (w.tid + k * THREADS) / SHARERS;
        if (w.tid % SHARERS == 0 && c < width) ((float*)p.dbias)[w.slot * p.width + w.first + c] = sum;
    }
#else
    const float sum = sum_sharers<SHARERS>(part_bias);
    if (NEED_BIAS && w.tid % SHARERS == 0 && w.tid / P < width) ((float*)p.dbias)[w.slot * p.width + w.first + w.tid / P] = sum;
#endif
    if (NEED_D) {
        __syncthreads();
        if (w.tid < CHANNELS && w.tid < width) ((float*)p.dD)[w.slot * p.width + w.first + w.tid] = sdD[w.tid].value();
    }
#if NEED_H0
    if (w.part == 0) store_states((float*)p.dh0 + SEQUENCE * plane + state, own, g);
#endif
}
#endif

// --- sums of shares ---

#ifdef FINISH
// dB and dC from shares (batch, blocks, L, 8 P), block after block. One thread for each (sequence, step, four columns).
__device__ __forceinline__ void sum_selectors(const Args& p, i64 id) {
    const int column = id % (2 * P) * 4, n = column % (4 * P);
    const i64 t = id / (2 * P) % p.length, b = id / (2 * P) / p.length;
    const float* from = (const float*)p.shares + (b * p.blocks * p.length + t) * (8 * P) + column;
    Four s = {{0.f, 0.f, 0.f, 0.f}};
#pragma unroll 4
    for (int i = 0; i < p.blocks; i++) {
        const Four v = load4(from + (i64)i * p.length * (8 * P));
#pragma unroll
        for (int j = 0; j < 4; j++) s.v[j] += v.v[j];
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
        if (n + j >= N) continue;
        if (column < 4 * P) { if (NEED_B) narrow(((b_t*)p.dB)[b * p.dB_batch + (n + j) * p.dB_state + t * p.dB_time], s.v[j]); }
        else if (NEED_C) narrow(((c_t*)p.dC)[b * p.dC_batch + (n + j) * p.dC_state + t * p.dC_time], s.v[j]);
    }
}

// dA, dD and dbias: what each (sequence, segment) holds of them, in `kept` (dA), `out` (dD) and `last` (dbias), one after the other.
__device__ __forceinline__ void sum_parameters(const Args& p, i64 id) {
    const i64 plane = (i64)p.width * N;
    const float* from = nullptr;
    float* to = nullptr;
    i64 stride = p.width;
    if (id < plane) { if (NEED_A) { from = (const float*)p.kept + id; to = (float*)p.dA + id; stride = plane; } }
    else if (id < plane + p.width) { if (NEED_D) { from = (const float*)p.out + id - plane; to = (float*)p.dD + id - plane; } }
    else if (id < plane + 2 * p.width && NEED_BIAS) { from = (const float*)p.last + id - plane - p.width; to = (float*)p.dbias + id - plane - p.width; }
    if (!from) return;
    double s = 0.;  // slots are few, and rounding at each of them would show
#pragma unroll 4
    for (i64 i = 0; i < p.slots; i++) s += from[i * stride];
    *to = (float)s;
}

// Both, side by side: the first `chains` threads for the selectors, the others for the parameters, of which there is nothing to add
// up where slots is 0.
extern "C" __global__ void scan_finish(const Args p) {
#if DEPENDENT
    wait_for_kernel_ahead();
#endif
    const i64 id = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (id < p.chains) sum_selectors(p, id);
    else if (p.slots) sum_parameters(p, id - p.chains);
}
#endif
