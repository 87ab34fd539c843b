// SPDX-License-Identifier: Apache-2.0
// Depthwise products of one-byte codes by vpmaddwd: two taps of a channel meet in one 32-bit lane.
//
// Codes of 16 channels are widened to int16 and interleaved tap by tap; the interleaving stays within 128-bit
// lanes, so the first sum holds channels 0..3 and 8..11, the second 4..7 and 12..15.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/simd/memory_loops.h"

namespace bittwin {

constexpr int64_t kPairChannels = 64;
constexpr int64_t kPairTaps = 64;  // larger kernels take the plain loop

struct DepthwisePairs {
  alignas(
      32) int16_t weight[kPairChannels / 16][kPairTaps / 2][2][2][4][2];  // [block][pair][sum][lane][channel][tap]
};

static void arrange_pairs(const DepthwiseBlock& b, DepthwisePairs& q) {
  std::memset(q.weight, 0, sizeof(q.weight));
  for (int64_t c = 0; c < b.channels; ++c) {
    for (int64_t t = 0; t < b.taps; ++t) {
      q.weight[c / 16][t / 2][c / 4 % 2][c / 8 % 2][c % 4][t % 2] = b.weight[t * b.channels + c];
    }
  }
}

template <bool Signed>
BITTWIN_INLINE __m256i sixteen_codes(const uint8_t* at) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  return Signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
}

template <bool Signed>
BITTWIN_TARGET static void depthwise_pairs(const DepthwiseBlock& b) {
  DepthwisePairs q;
  arrange_pairs(b, q);
  for (int64_t p = 0; p < b.rows; ++p) {
    int32_t* acc = b.acc + p * b.channels;
    for (int64_t c = 0; c + 16 <= b.channels; c += 16) {
      __m256i low = _mm256_setzero_si256();
      __m256i high = low;
      const auto* w = reinterpret_cast<const __m256i*>(q.weight[c / 16]);
      for (int64_t t = 0; t < b.taps; t += 2, w += 2) {
        const __m256i x0 = sixteen_codes<Signed>(b.row[p] + b.tap[t] + c);
        const __m256i x1 = sixteen_codes<Signed>(b.row[p] + b.tap[t + 1 < b.taps ? t + 1 : t] + c);
        low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(x0, x1), _mm256_load_si256(w)));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(x0, x1), _mm256_load_si256(w + 1)));
      }
      const __m256i sums[2] = {_mm256_permute2x128_si256(low, high, 0x20),
                               _mm256_permute2x128_si256(low, high, 0x31)};
      for (int g = 0; g < 2; ++g) {
        const __m256i start = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b.start + c + 8 * g));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(acc + c + 8 * g), _mm256_add_epi32(start, sums[g]));
      }
    }
  }
}

BITTWIN_TARGET static void depthwise_bytes_run(const DepthwiseBlock& b) {
  const bool bytes = b.type == InputType::u8 || b.type == InputType::s8;
  if (!bytes || !b.narrow || b.channels % 16 != 0 || b.channels > kPairChannels || b.taps > kPairTaps) {
    return depthwise_run(b);
  }
  if (b.type == InputType::s8) return depthwise_pairs<true>(b);
  depthwise_pairs<false>(b);
}

}  // namespace bittwin
