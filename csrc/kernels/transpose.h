// SPDX-License-Identifier: Apache-2.0
// Transposes of small matrices: out[j * out_stride + i] = in[i * in_stride + j], i < rows, j < columns.
// Channel-first images become channel-last ones with it, accumulator blocks go back, weights get into units.
// SSE2 belongs to every x86-64; elsewhere the plain loop does.
#pragma once

#include <cstdint>
#include <type_traits>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace bittwin {

template <typename T>
inline void transpose_plain(const T* in, int64_t in_stride, int64_t rows, int64_t columns, T* out,
                            int64_t out_stride) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) out[j * out_stride + i] = in[i * in_stride + j];
  }
}

#if defined(__SSE2__)
inline __m128i load_row(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
inline void store_row(void* p, __m128i v) {
  _mm_storeu_si128(static_cast<__m128i*>(p), v);
}

// Each step pairs row i with row i + half of its block; after log2 steps rows and columns have changed places.
template <typename Low, typename High, int Rows>
inline void unpack_step(const __m128i (&in)[Rows], __m128i (&out)[Rows], Low low, High high) {
  for (int i = 0; i < Rows / 2; ++i) {
    out[2 * i] = low(in[i], in[i + Rows / 2]);
    out[2 * i + 1] = high(in[i], in[i + Rows / 2]);
  }
}

inline void transpose_tile(const uint8_t* in, int64_t in_stride, uint8_t* out, int64_t out_stride) {
  const auto low = [](__m128i a, __m128i b) { return _mm_unpacklo_epi8(a, b); };
  const auto high = [](__m128i a, __m128i b) { return _mm_unpackhi_epi8(a, b); };
  __m128i a[16];
  __m128i b[16];
  for (int i = 0; i < 16; ++i) a[i] = load_row(in + i * in_stride);
  unpack_step(a, b, low, high);
  unpack_step(b, a, low, high);
  unpack_step(a, b, low, high);
  unpack_step(b, a, low, high);
  for (int i = 0; i < 16; ++i) store_row(out + i * out_stride, a[i]);
}

inline void transpose_tile(const uint16_t* in, int64_t in_stride, uint16_t* out, int64_t out_stride) {
  const auto low = [](__m128i a, __m128i b) { return _mm_unpacklo_epi16(a, b); };
  const auto high = [](__m128i a, __m128i b) { return _mm_unpackhi_epi16(a, b); };
  __m128i a[8];
  __m128i b[8];
  for (int i = 0; i < 8; ++i) a[i] = load_row(in + i * in_stride);
  unpack_step(a, b, low, high);
  unpack_step(b, a, low, high);
  unpack_step(a, b, low, high);
  for (int i = 0; i < 8; ++i) store_row(out + i * out_stride, b[i]);
}

inline void transpose_tile(const uint32_t* in, int64_t in_stride, uint32_t* out, int64_t out_stride) {
  const auto low = [](__m128i a, __m128i b) { return _mm_unpacklo_epi32(a, b); };
  const auto high = [](__m128i a, __m128i b) { return _mm_unpackhi_epi32(a, b); };
  __m128i a[4];
  __m128i b[4];
  for (int i = 0; i < 4; ++i) a[i] = load_row(in + i * in_stride);
  unpack_step(a, b, low, high);
  unpack_step(b, a, low, high);
  for (int i = 0; i < 4; ++i) store_row(out + i * out_stride, a[i]);
}
#endif

// T: uint8_t, uint16_t or uint32_t.
template <typename T>
inline void transpose(const T* in, int64_t in_stride, int64_t rows, int64_t columns, T* out, int64_t out_stride) {
  static_assert(std::is_unsigned<T>::value && sizeof(T) <= 4, "unsigned words of 1, 2 or 4 bytes");
#if defined(__SSE2__)
  constexpr int64_t kTile = 16 / static_cast<int64_t>(sizeof(T));
  if (rows < kTile || columns < kTile) return transpose_plain(in, in_stride, rows, columns, out, out_stride);
  // The last tile of a row or column lies over the one before it: the same words once more, and no single ones.
  for (int64_t i = 0; i < rows; i += kTile) {
    const int64_t row = i + kTile <= rows ? i : rows - kTile;
    for (int64_t j = 0; j < columns; j += kTile) {
      const int64_t column = j + kTile <= columns ? j : columns - kTile;
      transpose_tile(in + row * in_stride + column, in_stride, out + column * out_stride + row, out_stride);
    }
  }
#else
  transpose_plain(in, in_stride, rows, columns, out, out_stride);
#endif
}

}  // namespace bittwin
