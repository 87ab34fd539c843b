// SPDX-License-Identifier: Apache-2.0
// AVX512-VNNI loops.
//
// Exact because both dot-product instructions add their products in 32 bits without saturating:
//   vpdpbusd: 4 x (u8 * s8) per lane. |sum of 4| <= 4 * 255 * 128 < 2^31. (vpmaddubsw, its older relative,
//             saturates pairs at int16 and is not used anywhere.)
//   vpdpwssd: 2 x (s16 * s16) per lane. -32768 * -32768 * 2 = 2^31 wraps, as sums modulo 2^32 should.
// int8 inputs become uint8 by XOR 0x80 (+128), uint16 inputs int16 by XOR 0x8000 (-32768); the weight sums
// take that out of the start value.
#include "kernels/loops.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define BITTWIN_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#include <immintrin.h>

#include <cstring>

#include "kernels/simd/narrow_avx512.h"
// then what builds on it
#include "kernels/simd/depthwise_vnni.h"
#include "kernels/simd/memory_loops.h"
#include "kernels/simd/quantize_bits.h"
#include "kernels/simd/stretch.h"
#include "kernels/simd/turned_avx512.h"

namespace bittwin {
namespace {

constexpr int kLane = 16;
constexpr int kRows = 6;         // 6 x 4 sums, 4 weights, 1 input: 29 of 32 registers
constexpr int64_t kChunk = 128;  // units per pass: 4 groups of 8 KiB of weights stay in the L1 cache

Format format(InputType x, WeightType w) {
  const bool bytes = w == WeightType::s8 && (x == InputType::u8 || x == InputType::s8);
  if (bytes && x == InputType::s8) return {1, 1, 1, 1, 0x80, 128, false};
  if (bytes) return {1, 1, 1, 1, 0, 0, false};
  if (x == InputType::u16) return {2, 1, 1, 1, 0x8000, -32768, true};
  return {2, 1, 1, 1, 0, 0, true};
}

template <bool Words, int Rows, int Groups>
BITTWIN_TARGET inline void tile(const uint8_t* const* row, const Stretch& s, const uint8_t* weight,
                                int64_t group_stride, const int32_t* start, int64_t start_stride, int32_t* acc) {
  __m512i sum[Rows][Groups];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < Groups; ++g) sum[r][g] = _mm512_loadu_si512(start + r * start_stride + g * kLane);
  }
  for (int64_t i = 0; i < s.segments; ++i) {
    const uint8_t* a[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) a[r] = row[r] + s.segment[i] + 4 * s.first_unit;
    for (int64_t u = 0; u < s.units; ++u) {
      __m512i w[Groups];
#pragma GCC unroll 4
      for (int g = 0; g < Groups; ++g) w[g] = _mm512_loadu_si512(weight + g * group_stride);
      weight += 4 * kLane;
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        int32_t unit;
        std::memcpy(&unit, a[r] + 4 * u, 4);
        const __m512i x = _mm512_set1_epi32(unit);
#pragma GCC unroll 4
        for (int g = 0; g < Groups; ++g) {
          sum[r][g] = Words ? _mm512_dpwssd_epi32(sum[r][g], x, w[g]) : _mm512_dpbusd_epi32(sum[r][g], x, w[g]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < Groups; ++g) _mm512_storeu_si512(acc + (r * Groups + g) * kLane, sum[r][g]);
  }
}

template <bool Words, int Groups>
BITTWIN_TARGET void rows_of(const BlockProduct& b, const Stretch& s, const uint8_t* weight, bool first) {
  constexpr int64_t kWidth = Groups * kLane;
  int64_t r = 0;
  const auto* row = b.row;
  for (; r + kRows <= b.rows; r += kRows) {
    int32_t* acc = b.acc + r * kWidth;
    tile<Words, kRows, Groups>(row + r, s, weight, b.group_stride, first ? b.start : acc, first ? 0 : kWidth, acc);
  }
  int32_t* acc = b.acc + r * kWidth;
  const int32_t* start = first ? b.start : acc;
  const int64_t stride = first ? 0 : kWidth;
  switch (b.rows - r) {
    case 1: return tile<Words, 1, Groups>(row + r, s, weight, b.group_stride, start, stride, acc);
    case 2: return tile<Words, 2, Groups>(row + r, s, weight, b.group_stride, start, stride, acc);
    case 3: return tile<Words, 3, Groups>(row + r, s, weight, b.group_stride, start, stride, acc);
    case 4: return tile<Words, 4, Groups>(row + r, s, weight, b.group_stride, start, stride, acc);
    case 5: return tile<Words, 5, Groups>(row + r, s, weight, b.group_stride, start, stride, acc);
    default: return;
  }
}

template <bool Words>
BITTWIN_TARGET void rows_of(const BlockProduct& b, const Stretch& s, const uint8_t* weight, bool first) {
  switch (b.groups) {
    case 1: return rows_of<Words, 1>(b, s, weight, first);
    case 2: return rows_of<Words, 2>(b, s, weight, first);
    case 3: return rows_of<Words, 3>(b, s, weight, first);
    default: return rows_of<Words, 4>(b, s, weight, first);
  }
}

BITTWIN_TARGET void product(const BlockProduct& b) {
  for_each_stretch(b, kChunk, kLane, b.format.code_bytes == 2 ? rows_of<true> : rows_of<false>);
}

const Loops kLoops = {kLane,
                      4,
                      format,
                      product,
                      depthwise_bytes_run,
                      requantize_run,
                      requantize_channels_run,
                      split_run,
                      store_run,
                      quantize_run,
                      store_turned_run,
                      quantize_bits_avx512,
                      pack_bits_avx512};

}  // namespace

const Loops* avx512vnni_loops() {
  return &kLoops;
}

}  // namespace bittwin

#else
namespace bittwin {
const Loops* avx512vnni_loops() {
  return nullptr;
}
}  // namespace bittwin
#endif
