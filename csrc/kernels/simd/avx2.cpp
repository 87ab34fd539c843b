// SPDX-License-Identifier: Apache-2.0
// AVX2 loops.
//
// Exact because every code is widened to int16 first: vpmaddwd adds two s16 * s16 products in 32 bits and
// can only wrap (-32768 * -32768 * 2 = 2^31), never saturate. The faster-looking vpmaddubsw works on bytes but
// saturates every pair at int16: wrong for most full-range codes, and never seen on Gaussian data.
#include "kernels/loops.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define BITTWIN_TARGET __attribute__((target("avx2")))
#include <immintrin.h>

#include <cstring>

#include "kernels/simd/narrow_avx2.h"
// then what builds on it
#include "kernels/simd/depthwise_avx2.h"
#include "kernels/simd/memory_loops.h"
#include "kernels/simd/quantize_bits.h"
#include "kernels/simd/stretch.h"
#include "kernels/simd/turned_avx2.h"

namespace bittwin {
namespace {

constexpr int kLane = 8;
constexpr int kRows = 6;         // 6 x 2 sums, 2 weights, 1 input, 1 product: all 16 registers
constexpr int64_t kChunk = 256;  // units per pass: 2 groups of 8 KiB of weights stay in the L1 cache

Format format(InputType x, WeightType) {
  if (x == InputType::u16) return {2, 1, 1, 1, 0x8000, -32768, true};
  return {2, 1, 1, 1, 0, 0, true};
}

template <int Rows, int Groups>
BITTWIN_TARGET inline void tile(const uint8_t* const* row, const Stretch& s, const uint8_t* weight,
                                int64_t group_stride, const int32_t* start, int64_t start_stride, int32_t* acc) {
  __m256i sum[Rows][Groups];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int g = 0; g < Groups; ++g) {
      sum[r][g] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(start + r * start_stride + g * kLane));
    }
  }
  for (int64_t i = 0; i < s.segments; ++i) {
    const uint8_t* a[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) a[r] = row[r] + s.segment[i] + 4 * s.first_unit;
    for (int64_t u = 0; u < s.units; ++u) {
      __m256i w[Groups];
#pragma GCC unroll 2
      for (int g = 0; g < Groups; ++g) {
        w[g] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weight + g * group_stride));
      }
      weight += 4 * kLane;
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        int32_t unit;
        std::memcpy(&unit, a[r] + 4 * u, 4);
        const __m256i x = _mm256_set1_epi32(unit);
#pragma GCC unroll 2
        for (int g = 0; g < Groups; ++g) sum[r][g] = _mm256_add_epi32(sum[r][g], _mm256_madd_epi16(x, w[g]));
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int g = 0; g < Groups; ++g) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(acc + (r * Groups + g) * kLane), sum[r][g]);
    }
  }
}

template <int Groups>
BITTWIN_TARGET void rows_of(const BlockProduct& b, const Stretch& s, const uint8_t* weight, bool first) {
  constexpr int64_t kWidth = Groups * kLane;
  int64_t r = 0;
  const auto* row = b.row;
  for (; r + kRows <= b.rows; r += kRows) {
    int32_t* acc = b.acc + r * kWidth;
    tile<kRows, Groups>(row + r, s, weight, b.group_stride, first ? b.start : acc, first ? 0 : kWidth, acc);
  }
  int32_t* acc = b.acc + r * kWidth;
  const int32_t* start = first ? b.start : acc;
  const int64_t stride = first ? 0 : kWidth;
  switch (b.rows - r) {
    case 1: return tile<1, Groups>(row + r, s, weight, b.group_stride, start, stride, acc);
    case 2: return tile<2, Groups>(row + r, s, weight, b.group_stride, start, stride, acc);
    case 3: return tile<3, Groups>(row + r, s, weight, b.group_stride, start, stride, acc);
    case 4: return tile<4, Groups>(row + r, s, weight, b.group_stride, start, stride, acc);
    case 5: return tile<5, Groups>(row + r, s, weight, b.group_stride, start, stride, acc);
    default: return;
  }
}

BITTWIN_TARGET void pass(const BlockProduct& b, const Stretch& s, const uint8_t* weight, bool first) {
  if (b.groups == 1) return rows_of<1>(b, s, weight, first);
  return rows_of<2>(b, s, weight, first);
}

BITTWIN_TARGET void product(const BlockProduct& b) {
  for_each_stretch(b, kChunk, kLane, pass);
}

const Loops kLoops = {kLane,
                      2,
                      format,
                      product,
                      depthwise_bytes_run,
                      requantize_run,
                      requantize_channels_run,
                      split_run,
                      store_run,
                      quantize_run,
                      store_turned_run,
                      quantize_bits_avx2,
                      pack_bits_avx2};

}  // namespace

const Loops* avx2_loops() {
  return &kLoops;
}

}  // namespace bittwin

#else
namespace bittwin {
const Loops* avx2_loops() {
  return nullptr;
}
}  // namespace bittwin
#endif
