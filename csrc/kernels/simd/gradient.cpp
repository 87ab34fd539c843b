// SPDX-License-Identifier: Apache-2.0
#include "kernels/gradient.h"

#include <algorithm>
#include <cstring>

#include "kernels/buffer.h"
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
  void (*add_scaled)(const float* in, float factor, int64_t count, float* out);
  void (*add)(const float* in, int64_t count, float* out);
};

// An instruction set whose loops count 16 columns has AVX512, one that counts 8 has AVX2 (loops.h).
GradientLoops loops_for(const Loops* loops) {
#if BITTWIN_X86
  if (loops != nullptr && loops->lane == 16) return {avx512::values, avx512::keep, avx512::add_scaled, avx512::add};
  if (loops != nullptr && loops->lane == 8) return {avx2::values, avx2::keep, avx2::add_scaled, avx2::add};
#endif
  (void)loops;
  return {plain::values, plain::keep, plain::add_scaled, plain::add};
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

void linear_gradients(const Loops* loops, const LinearGradients& g) {
  thread_local Buffer kept_gy, values;
  const GradientLoops use = loops_for(loops);
  const auto keep_in_place = [&](float* numbers, const uint8_t* bits, int64_t count) {
    if (bits != nullptr) use.keep({numbers, bits, count, numbers, false}, 0, count);
  };
  const float* gy = g.gy;
  if (g.y_bits != nullptr) {
    auto* kept = kept_gy.array<float>(g.rows * g.outputs);
    use.keep({g.gy, g.y_bits, g.rows * g.outputs, kept, false}, 0, g.rows * g.outputs);
    gy = kept;
  }
  auto* value = values.array<float>(std::max(g.rows, g.outputs) * g.inputs);
  if (g.gx != nullptr) {
    const int64_t count = g.outputs * g.inputs;
    use.values({g.w, CodeType::s8, count, 0.0F, g.w_codes_per_unit, value, false}, 0, count);
    std::fill(g.gx, g.gx + g.rows * g.inputs, 0.0F);
    for (int64_t i = 0; i < g.rows; ++i) {
      for (int64_t j = 0; j < g.outputs; ++j) {
        use.add_scaled(value + j * g.inputs, gy[i * g.outputs + j], g.inputs, g.gx + i * g.inputs);
      }
    }
    keep_in_place(g.gx, g.x_bits, g.rows * g.inputs);
  }
  if (g.gw != nullptr) {
    const int64_t count = g.rows * g.inputs;
    use.values({g.x, CodeType::u8, count, g.shift, g.x_codes_per_unit, value, false}, 0, count);
    std::fill(g.gw, g.gw + g.outputs * g.inputs, 0.0F);
    for (int64_t i = 0; i < g.rows; ++i) {
      for (int64_t j = 0; j < g.outputs; ++j) {
        use.add_scaled(value + i * g.inputs, gy[i * g.outputs + j], g.inputs, g.gw + j * g.inputs);
      }
    }
    keep_in_place(g.gw, g.w_bits, g.outputs * g.inputs);
  }
  if (g.gb != nullptr) {
    std::fill(g.gb, g.gb + g.outputs, 0.0F);
    for (int64_t i = 0; i < g.rows; ++i) use.add(gy + i * g.outputs, g.outputs, g.gb);
  }
}

}  // namespace bittwin
