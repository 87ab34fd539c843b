// SPDX-License-Identifier: Apache-2.0
#include "kernels/gradient.h"

#include <algorithm>
#include <cstring>

#include "kernels/threads.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define BITTWIN_X86 1
#define BITTWIN_INLINE static inline __attribute__((always_inline))
#else
#define BITTWIN_X86 0
#define BITTWIN_INLINE static inline
#endif

namespace bittwin {
namespace {

constexpr int64_t kTask = 1 << 17;  // elements worth a thread; a multiple of 8

BITTWIN_INLINE uint32_t float_as_bits(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  return bits;
}

BITTWIN_INLINE float bits_as_float(uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, 4);
  return v;
}

BITTWIN_INLINE void store_value(float v, float& to) {
  to = v;
}

// The upper half, ties to even; a NaN stays one, whatever the carry would do.
BITTWIN_INLINE void store_value(float v, uint16_t& to) {
  const uint32_t bits = float_as_bits(v);
  const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  to = static_cast<uint16_t>(v != v ? (bits >> 16) | 0x40U : rounded);
}

namespace plain {
#define BITTWIN_TARGET
#include "kernels/simd/gradient_loops.h"
#undef BITTWIN_TARGET
}  // namespace plain

#if BITTWIN_X86
namespace avx2 {
#define BITTWIN_TARGET __attribute__((target("avx2")))
#include "kernels/simd/gradient_loops.h"
#undef BITTWIN_TARGET
}  // namespace avx2

namespace avx512 {
#define BITTWIN_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#include "kernels/simd/gradient_loops.h"
#undef BITTWIN_TARGET
}  // namespace avx512
#endif

struct GradientLoops {
  void (*values)(const CodeValues&, int64_t first, int64_t last);
  void (*keep)(const KeepWhere&, int64_t first, int64_t last);
};

// An instruction set whose loops count 16 columns has AVX512, one that counts 8 has AVX2 (loops.h).
GradientLoops loops_for(const Loops* loops) {
#if BITTWIN_X86
  if (loops != nullptr && loops->lane == 16) return {avx512::values, avx512::keep};
  if (loops != nullptr && loops->lane == 8) return {avx2::values, avx2::keep};
#endif
  (void)loops;
  return {plain::values, plain::keep};
}

template <typename F>
void in_parts(int64_t count, F f) {
  parallel_for((count + kTask - 1) / kTask,
               [&](int64_t task) { f(task * kTask, std::min(count, (task + 1) * kTask)); });
}

}  // namespace

void code_values(const Loops* loops, const CodeValues& v) {
  const GradientLoops use = loops_for(loops);
  in_parts(v.count, [&](int64_t first, int64_t last) { use.values(v, first, last); });
}

void keep_where(const Loops* loops, const KeepWhere& k) {
  const GradientLoops use = loops_for(loops);
  in_parts(k.count, [&](int64_t first, int64_t last) { use.keep(k, first, last); });
}

}  // namespace bittwin
