// Enough of CUDA C++ to run a kernel on a CPU, one block after the other: its threads are fibres that hand over to each other at
// barriers and lane exchanges only, in an order that is shuffled at every turn. What reads before a barrier what others write after
// it, or the other way round, gives another result in another order, so a missing barrier shows as a wrong or moving number.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define DYNAMIC_SHARED(type, name) type* const name = (type*)emulator::dynamic

struct Index { unsigned x = 0; };
static Index threadIdx, blockIdx, blockDim;

namespace emulator {
struct Fibre {
    ucontext_t context;
    std::vector<char> stack;
    bool done = false;
    int waits = 0;  // turn of the barrier it waits for, of its block or its warp
};
static ucontext_t main_context;
static std::vector<Fibre> fibres;
static int current;
static char* dynamic;
static std::vector<int> block_turn, warp_turn;       // barriers passed by each thread
static std::vector<unsigned> exchanged, operands;    // one word a thread, and six
static uint64_t seed;
static void (*body)(const void*);
static const void* arguments;

inline unsigned random_() { seed = seed * 6364136223846793005ull + 1442695040888963407ull; return unsigned(seed >> 33); }
inline void hand_over() { swapcontext(&fibres[current].context, &main_context); }
inline void wait_for(std::vector<int>& turns, int first, int count) {
    const int me = current, turn = ++turns[me];
    for (;;) {
        bool all = true;
        for (int i = first; i < first + count; i++) all = all && (turns[i] >= turn || fibres[i].done);
        if (all) return;
        hand_over();
    }
}
inline void start() { body(arguments); fibres[current].done = true; hand_over(); }

// Runs body(arguments) as `blocks` blocks of `threads` threads with `shared` bytes of dynamic shared memory.
inline void launch(void (*kernel)(const void*), const void* given, unsigned blocks, unsigned threads, size_t shared, uint64_t order) {
    body = kernel; arguments = given; seed = order * 2 + 1;
    std::vector<char> memory(shared + 64);
    dynamic = (char*)(((uintptr_t)memory.data() + 63) & ~uintptr_t(63));
    fibres = std::vector<Fibre>(threads);
    for (auto& f : fibres) f.stack.resize(1 << 17);
    for (unsigned block = 0; block < blocks; block++) {
        blockIdx.x = block; blockDim.x = threads;
        memset(dynamic, 0xff, shared);  // NaN: what is read must have been written
        block_turn.assign(threads, 0); warp_turn.assign(threads, 0); exchanged.assign(threads, 0); operands.assign(6 * threads, 0);
        for (unsigned i = 0; i < threads; i++) {
            Fibre& f = fibres[i];
            f.done = false;
            getcontext(&f.context);
            f.context.uc_stack.ss_sp = f.stack.data(); f.context.uc_stack.ss_size = f.stack.size(); f.context.uc_link = nullptr;
            makecontext(&f.context, (void (*)())start, 0);
        }
        for (unsigned left = threads; left;) {
            const unsigned from = random_() % threads, step = random_() % 2 ? 1 : threads - 1;
            left = 0;
            for (unsigned k = 0; k < threads; k++) {
                const unsigned i = (from + k * step) % threads;
                if (fibres[i].done) continue;
                current = i; threadIdx.x = i;
                swapcontext(&main_context, &fibres[i].context);
                left += !fibres[i].done;
            }
        }
    }
}
}  // namespace emulator

inline void __syncthreads() { emulator::wait_for(emulator::block_turn, 0, blockDim.x); threadIdx.x = emulator::current; }
inline void __syncwarp() { emulator::wait_for(emulator::warp_turn, emulator::current / 32 * 32, 32); threadIdx.x = emulator::current; }
inline float __shfl_xor_sync(unsigned, float x, int mask) {
    memcpy(&emulator::exchanged[emulator::current], &x, 4);
    __syncwarp();
    float y;
    memcpy(&y, &emulator::exchanged[emulator::current ^ mask], 4);
    __syncwarp();
    return y;
}

// One product of the tensor cores: d += a b, a 16 x 8, b 8 x 8, of which 10 bits of each mantissa are read.
inline void product(float* d, const unsigned* a, const unsigned* b) {
    const int me = emulator::current, warp = me / 32 * 32, lane = me % 32;
    unsigned* mine = &emulator::operands[6 * me];
    memcpy(mine, a, 16); memcpy(mine + 4, b, 8);
    __syncwarp();
    auto part = [&](int of, int which) {
        unsigned bits = emulator::operands[6 * (warp + of) + which] & 0xffffe000u;
        float x; memcpy(&x, &bits, 4);
        return x;
    };
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4, below = i / 2, column = lane % 4 * 2 + i % 2;
        float s = 0.f;
        for (int k = 0; k < 8; k++) s += part(row * 4 + k % 4, below + k / 4 * 2) * part(column * 4 + k % 4, 4 + k / 4);
        d[i] += s;
    }
    __syncwarp();
}
inline unsigned __float_as_uint(float x) { unsigned b; memcpy(&b, &x, 4); return b; }
inline float __uint_as_float(unsigned b) { float x; memcpy(&x, &b, 4); return x; }

// Blocks run one after the other here, so a flag that one waits for is set, or never will be.
inline int load_acquire(const int* p) { if (!*p) { fprintf(stderr, "a block waits for a later one\n"); abort(); } return *p; }
inline void store_release(int* p, int v) { *p = v; }

inline void prefetch_(const void*) {}
inline void wait_for_kernel_ahead() {}  // it has ended
inline void let_next_kernel_begin() {}

// Conversions of the kernels' narrow types, to nearest, ties to even.
#define EMULATED_CONVERSIONS                                                                          \
    inline float value(bf16 x) { uint32_t b = uint32_t(x.bits) << 16; float y; memcpy(&y, &b, 4); return y; }   \
    inline float value(f16 x) { _Float16 h; memcpy(&h, &x.bits, 2); return (float)h; }                          \
    inline void narrow(bf16& y, float x) {                                                                      \
        uint32_t b; memcpy(&b, &x, 4);                                                                          \
        y.bits = x != x ? 0x7fc0 : (b + 0x7fff + (b >> 16 & 1)) >> 16;                                          \
    }                                                                                                           \
    inline void narrow(f16& y, float x) { _Float16 h = (_Float16)x; memcpy(&y.bits, &h, 2); }

#if !PRECISE
inline float exp2_(float x) { return exp2f(x); }  // right in the mean, so nothing is to be shifted
#define EXP2_SHIFT 0.f
inline float rcp_(float x) { return 1.f / x; }
#endif
