// SPDX-License-Identifier: Apache-2.0
// 16 int32 codes to 16 narrower ones, for codes within the range of the narrower type.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace bittwin {

BITTWIN_TARGET static inline void narrow16(const int32_t* from, int8_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_maskz_cvtepi32_epi8(0xFFFF, _mm512_loadu_si512(from)));
}
BITTWIN_TARGET static inline void narrow16(const int32_t* from, uint8_t* to) {
  narrow16(from, reinterpret_cast<int8_t*>(to));
}
BITTWIN_TARGET static inline void narrow16(const int32_t* from, int16_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_maskz_cvtepi32_epi16(0xFFFF, _mm512_loadu_si512(from)));
}
BITTWIN_TARGET static inline void narrow16(const int32_t* from, uint16_t* to) {
  narrow16(from, reinterpret_cast<int16_t*>(to));
}

}  // namespace bittwin
