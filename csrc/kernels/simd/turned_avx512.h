// SPDX-License-Identifier: Apache-2.0
// Loops.store_turned for AVX512: codes of pixels to real values of channels, without a transposed copy between.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "kernels/loops.h"

namespace bittwin {

// A tile of 16 pixels and 16 channels. Rows of 32-bit words become columns in four steps: pairs of words, pairs of
// pairs, then 128-bit parts twice. What lies outside the block is neither read nor written.
BITTWIN_TARGET static inline void turn16(const StoreBlock& b, int64_t row, int64_t column) {
  const auto rows = static_cast<int>(std::min<int64_t>(16, b.rows - row));
  const auto columns = static_cast<int>(std::min<int64_t>(16, b.columns - column));
  const auto read = static_cast<__mmask16>((1U << columns) - 1U);
  const auto write = static_cast<__mmask16>((1U << rows) - 1U);
  __m512i a[16];
  __m512i t[16];
  for (int i = 0; i < 16; ++i) {
    a[i] =
        i < rows ? _mm512_maskz_loadu_epi32(read, b.codes + (row + i) * b.stride + column) : _mm512_setzero_si512();
  }
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {  // part p of a[i + c]: channel 4 p + c of pixels i .. i + 3
    a[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int c = 0; c < 4; ++c) {
    const __m512i even_low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88);
    const __m512i odd_low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xDD);
    const __m512i even_high = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
    const __m512i odd_high = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xDD);
    t[c] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
    t[4 + c] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
    t[8 + c] = _mm512_shuffle_i32x4(even_low, even_high, 0xDD);
    t[12 + c] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xDD);
  }
  const __m512 per_unit = _mm512_set1_ps(b.codes_per_unit);
  float* out = static_cast<float*>(b.out) + column * b.out_stride + row;
  for (int j = 0; j < 16; ++j) {
    if (j >= columns) break;
    _mm512_mask_storeu_ps(out + j * b.out_stride, write, _mm512_div_ps(_mm512_cvtepi32_ps(t[j]), per_unit));
  }
}

BITTWIN_TARGET static void store_turned_run(const StoreBlock& b) {
  for (int64_t j = 0; j < b.columns; j += 16) {
    for (int64_t i = 0; i < b.rows; i += 16) turn16(b, i, j);
  }
}

}  // namespace bittwin
