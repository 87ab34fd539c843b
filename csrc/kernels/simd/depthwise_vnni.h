// SPDX-License-Identifier: Apache-2.0
// Depthwise products of one-byte codes by vpdpbusd: four taps of a channel meet in one 32-bit lane.
//
// Four tap vectors of 64 channels are interleaved byte by byte; the interleaving stays within 128-bit lanes, so
// sum i holds channels 16 l + 4 i .. + 3 in lane l, weights are laid out to match, and sums are put in order
// when they are stored.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/simd/memory_loops.h"

namespace bittwin {

constexpr int64_t kDepthwiseChannels = 64;
constexpr int64_t kDepthwiseTaps = 64;  // larger kernels take the plain loop

struct DepthwiseQuads {
  alignas(64) int8_t weight[kDepthwiseTaps / 4][4][4][4][4];  // [quad][sum][lane][channel][tap]
  alignas(64) int32_t start[kDepthwiseChannels];
};

static void arrange_quads(const DepthwiseBlock& b, bool flip, DepthwiseQuads& q) {
  std::memset(q.weight, 0, static_cast<size_t>((b.taps + 3) / 4) * 256);
  for (int64_t c = 0; c < b.channels; ++c) {
    uint32_t sum = 0;
    for (int64_t t = 0; t < b.taps; ++t) {
      const int16_t w = b.weight[t * b.channels + c];
      q.weight[t / 4][c / 4 % 4][c / 16][c % 4][t % 4] = static_cast<int8_t>(w);
      sum += static_cast<uint32_t>(int32_t{w});
    }
    // x ^ 0x80 = x + 128 for signed codes
    q.start[c] = static_cast<int32_t>(static_cast<uint32_t>(b.start[c]) - (flip ? 128U * sum : 0U));
  }
}

BITTWIN_TARGET static void depthwise_quads(const DepthwiseBlock& b, bool flip) {
  DepthwiseQuads q;
  arrange_quads(b, flip, q);
  const __mmask64 present = b.channels == 64 ? ~__mmask64{0} : (__mmask64{1} << b.channels) - 1;
  const __m512i sign = _mm512_set1_epi8(flip ? -128 : 0);
  for (int64_t p = 0; p < b.rows; ++p) {
    __m512i s0 = _mm512_setzero_si512();
    __m512i s1 = s0;
    __m512i s2 = s0;
    __m512i s3 = s0;
    for (int64_t t = 0; t < b.taps; t += 4) {
      const auto tap = [&](int64_t i) { return b.row[p] + b.tap[t + i < b.taps ? t + i : t]; };
      const uint8_t* at[4] = {tap(0), tap(1), tap(2), tap(3)};
      const __m512i x0 = _mm512_xor_si512(_mm512_maskz_loadu_epi8(present, at[0]), sign);
      const __m512i x1 = _mm512_xor_si512(_mm512_maskz_loadu_epi8(present, at[1]), sign);
      const __m512i x2 = _mm512_xor_si512(_mm512_maskz_loadu_epi8(present, at[2]), sign);
      const __m512i x3 = _mm512_xor_si512(_mm512_maskz_loadu_epi8(present, at[3]), sign);
      const __m512i low01 = _mm512_unpacklo_epi8(x0, x1);
      const __m512i high01 = _mm512_unpackhi_epi8(x0, x1);
      const __m512i low23 = _mm512_unpacklo_epi8(x2, x3);
      const __m512i high23 = _mm512_unpackhi_epi8(x2, x3);
      const auto* w = reinterpret_cast<const __m512i*>(q.weight[t / 4]);
      s0 = _mm512_dpbusd_epi32(s0, _mm512_unpacklo_epi16(low01, low23), w[0]);
      s1 = _mm512_dpbusd_epi32(s1, _mm512_unpackhi_epi16(low01, low23), w[1]);
      s2 = _mm512_dpbusd_epi32(s2, _mm512_unpacklo_epi16(high01, high23), w[2]);
      s3 = _mm512_dpbusd_epi32(s3, _mm512_unpackhi_epi16(high01, high23), w[3]);
    }
    constexpr __mmask16 kAll = 0xFFFF;  // GCC 12 warns of the unmasked form
    const __m512i a = _mm512_maskz_shuffle_i32x4(kAll, s0, s1, 0x44);
    const __m512i c = _mm512_maskz_shuffle_i32x4(kAll, s0, s1, 0xEE);
    const __m512i d = _mm512_maskz_shuffle_i32x4(kAll, s2, s3, 0x44);
    const __m512i e = _mm512_maskz_shuffle_i32x4(kAll, s2, s3, 0xEE);
    const __m512i sums[4] = {
        _mm512_maskz_shuffle_i32x4(kAll, a, d, 0x88), _mm512_maskz_shuffle_i32x4(kAll, a, d, 0xDD),
        _mm512_maskz_shuffle_i32x4(kAll, c, e, 0x88), _mm512_maskz_shuffle_i32x4(kAll, c, e, 0xDD)};
    int32_t* acc = b.acc + p * b.channels;
    for (int g = 0; g < 4; ++g) {
      const auto here = static_cast<__mmask16>(present >> (16 * g));
      const __m512i start = _mm512_load_si512(q.start + 16 * g);
      _mm512_mask_storeu_epi32(acc + 16 * g, here, _mm512_add_epi32(sums[g], start));
    }
  }
}

BITTWIN_TARGET static void depthwise_bytes_run(const DepthwiseBlock& b) {
  const bool bytes = b.type == InputType::u8 || b.type == InputType::s8;
  if (!bytes || !b.narrow || b.channels > kDepthwiseChannels || b.taps > kDepthwiseTaps) return depthwise_run(b);
  depthwise_quads(b, b.type == InputType::s8);
}

}  // namespace bittwin
