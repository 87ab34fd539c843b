// SPDX-License-Identifier: Apache-2.0
// Loops.store_turned for AVX2: codes of pixels to real values of channels, without a transposed copy between.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "kernels/loops.h"

namespace bittwin {

// A whole tile of 8 pixels and 8 channels, likewise.
BITTWIN_TARGET static inline void turn8(const StoreBlock& b, int64_t row, int64_t column) {
  __m256i a[8];
  __m256i t[8];
  for (int i = 0; i < 8; ++i) {
    a[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b.codes + (row + i) * b.stride + column));
  }
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    a[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    a[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    a[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int c = 0; c < 4; ++c) {
    t[c] = _mm256_permute2x128_si256(a[c], a[4 + c], 0x20);
    t[4 + c] = _mm256_permute2x128_si256(a[c], a[4 + c], 0x31);
  }
  const __m256 per_unit = _mm256_set1_ps(b.codes_per_unit);
  float* out = static_cast<float*>(b.out) + column * b.out_stride + row;
  for (int j = 0; j < 8; ++j) {
    _mm256_storeu_ps(out + j * b.out_stride, _mm256_div_ps(_mm256_cvtepi32_ps(t[j]), per_unit));
  }
}

BITTWIN_TARGET static inline void turn_plain(const StoreBlock& b) {
  for (int64_t j = 0; j < b.columns; ++j) {
    float* out = static_cast<float*>(b.out) + j * b.out_stride;
    for (int64_t i = 0; i < b.rows; ++i) out[i] = static_cast<float>(b.codes[i * b.stride + j]) / b.codes_per_unit;
  }
}

BITTWIN_TARGET static void store_turned_run(const StoreBlock& b) {
  if (b.rows < 8 || b.columns < 8) return turn_plain(b);
  // The last tile of a row or column lies over the one before it.
  for (int64_t j = 0; j < b.columns; j += 8) {
    for (int64_t i = 0; i < b.rows; i += 8) turn8(b, std::min(i, b.rows - 8), std::min(j, b.columns - 8));
  }
}

}  // namespace bittwin
