// SPDX-License-Identifier: Apache-2.0
// 16 int32 codes to 16 narrower ones, for codes within the range of the narrower type.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace bittwin {

// The packs work within 128-bit lanes: 0xD8 puts the four quarters back in order.
BITTWIN_TARGET static inline __m256i words16(const int32_t* from, bool is_signed) {
  const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 8));
  return _mm256_permute4x64_epi64(is_signed ? _mm256_packs_epi32(a, b) : _mm256_packus_epi32(a, b), 0xD8);
}
BITTWIN_TARGET static inline void narrow16(const int32_t* from, int8_t* to) {
  const __m256i words = words16(from, true);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}
BITTWIN_TARGET static inline void narrow16(const int32_t* from, uint8_t* to) {
  const __m256i words = words16(from, true);
  const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}
BITTWIN_TARGET static inline void narrow16(const int32_t* from, int16_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), words16(from, true));
}
BITTWIN_TARGET static inline void narrow16(const int32_t* from, uint16_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), words16(from, false));
}

}  // namespace bittwin
