// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/quantize_bits.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include <cstring>

namespace bittwin {
namespace {

#define BITTWIN_AVX2 __attribute__((target("avx2")))
#define BITTWIN_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
constexpr int kHalfEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// 16 elements, fewer in the last vector: those outside `some` are neither read nor written.
template <bool Wide>
BITTWIN_AVX512 void quantize_avx512(const QuantizeArray& q, int64_t first, int64_t last, QuantizeOutcome& outcome) {
  const __m512 per_unit = _mm512_set1_ps(q.rule.codes_per_unit);
  const __m512 shift = _mm512_set1_ps(q.rule.shift);
  const __m512 lo = _mm512_set1_ps(static_cast<float>(q.rule.lo));
  const __m512 hi = _mm512_set1_ps(static_cast<float>(q.rule.hi));
  unsigned nan = 0;
  unsigned outside = 0;
  for (int64_t i = first; i < last; i += 16) {
    const auto some = static_cast<__mmask16>(last - i >= 16 ? 0xFFFFU : (1U << (last - i)) - 1U);
    const __m512 x = _mm512_maskz_loadu_ps(some, q.x + i);
    const __m512 scaled = _mm512_add_ps(_mm512_mul_ps(x, per_unit), shift);
    const unsigned under = _mm512_mask_cmp_ps_mask(some, scaled, lo, _CMP_LT_OQ);
    const unsigned out = under | _mm512_mask_cmp_ps_mask(some, scaled, hi, _CMP_GT_OQ);
    nan |= _mm512_mask_cmp_ps_mask(some, x, x, _CMP_UNORD_Q);
    outside |= out;
    const __m512i codes = _mm512_cvt_roundps_epi32(_mm512_min_ps(_mm512_max_ps(scaled, lo), hi), kHalfEven);
    if (Wide) {
      _mm512_mask_cvtepi32_storeu_epi16(static_cast<int16_t*>(q.codes) + i, some, codes);
    } else {
      _mm512_mask_cvtepi32_storeu_epi8(static_cast<uint8_t*>(q.codes) + i, some, codes);
    }
    if (q.bits == nullptr) continue;
    const auto inside = static_cast<uint16_t>(~out & some);
    std::memcpy(q.bits + i / 8, &inside, last - i > 8 ? 2 : 1);
  }
  outcome.nan = nan != 0;
  outcome.all_inside = outside == 0;
}

// 8 elements; the caller does what is left.
template <bool Wide>
BITTWIN_AVX2 int64_t quantize_avx2(const QuantizeArray& q, int64_t first, int64_t last, QuantizeOutcome& outcome) {
  const __m256 per_unit = _mm256_set1_ps(q.rule.codes_per_unit);
  const __m256 shift = _mm256_set1_ps(q.rule.shift);
  const __m256 lo = _mm256_set1_ps(static_cast<float>(q.rule.lo));
  const __m256 hi = _mm256_set1_ps(static_cast<float>(q.rule.hi));
  __m256 nan = _mm256_setzero_ps();
  int outside = 0;
  int64_t i = first;
  for (; i + 8 <= last; i += 8) {
    const __m256 x = _mm256_loadu_ps(q.x + i);
    const __m256 scaled = _mm256_add_ps(_mm256_mul_ps(x, per_unit), shift);
    const __m256 out = _mm256_or_ps(_mm256_cmp_ps(scaled, lo, _CMP_LT_OQ), _mm256_cmp_ps(scaled, hi, _CMP_GT_OQ));
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const int outs = _mm256_movemask_ps(out);
    outside |= outs;
    const __m256 limited = _mm256_min_ps(_mm256_max_ps(scaled, lo), hi);
    const __m256i codes = _mm256_cvtps_epi32(_mm256_round_ps(limited, kHalfEven));
    // The low halves hold the codes: saturating to int16 changes none.
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
    if (Wide) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(static_cast<int16_t*>(q.codes) + i), words);
    } else {
      const __m128i bytes = _mm_and_si128(words, _mm_set1_epi16(0xFF));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(static_cast<uint8_t*>(q.codes) + i),
                       _mm_packus_epi16(bytes, bytes));
    }
    if (q.bits != nullptr) q.bits[i / 8] = static_cast<uint8_t>(~outs);
  }
  outcome.nan = _mm256_movemask_ps(nan) != 0;
  outcome.all_inside = outside == 0;
  return i;
}

BITTWIN_AVX512 int64_t pack_avx512(const uint8_t* flags, int64_t count, uint8_t* bits) {
  int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    const __m512i v = _mm512_loadu_si512(flags + i);
    const auto mask = static_cast<uint64_t>(_mm512_test_epi8_mask(v, v));
    std::memcpy(bits + i / 8, &mask, 8);
  }
  return i;
}

BITTWIN_AVX2 int64_t pack_avx2(const uint8_t* flags, int64_t count, uint8_t* bits) {
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(flags + i));
    const int mask = _mm256_movemask_epi8(_mm256_cmpgt_epi8(v, _mm256_setzero_si256()));
    std::memcpy(bits + i / 8, &mask, 4);
  }
  return i;
}

void quantize_rest(const QuantizeArray& q, int64_t first, int64_t last, QuantizeOutcome& outcome) {
  unsigned bits = 0;
  for (int64_t i = first; i < last; ++i) {
    if (q.x[i] != q.x[i]) {
      outcome.nan = true;
      continue;
    }
    const InputCode code = quantize_value(q.x[i], q.rule);
    if (q.wide) {
      static_cast<int16_t*>(q.codes)[i] = static_cast<int16_t>(code.code);
    } else {
      static_cast<uint8_t*>(q.codes)[i] = static_cast<uint8_t>(code.code);
    }
    bits |= (code.inside ? 1U : 0U) << (i - first);
    outcome.all_inside = outcome.all_inside && code.inside;
  }
  if (q.bits != nullptr && first < last) q.bits[first / 8] = static_cast<uint8_t>(bits);
}

}  // namespace

void quantize_bits_avx512(const QuantizeArray& q, int64_t first, int64_t last, QuantizeOutcome& outcome) {
  q.wide ? quantize_avx512<true>(q, first, last, outcome) : quantize_avx512<false>(q, first, last, outcome);
}

void quantize_bits_avx2(const QuantizeArray& q, int64_t first, int64_t last, QuantizeOutcome& outcome) {
  const int64_t done =
      q.wide ? quantize_avx2<true>(q, first, last, outcome) : quantize_avx2<false>(q, first, last, outcome);
  quantize_rest(q, done, last, outcome);
}

int64_t pack_bits_avx512(const uint8_t* flags, int64_t count, uint8_t* bits) {
  return pack_avx512(flags, count, bits);
}

int64_t pack_bits_avx2(const uint8_t* flags, int64_t count, uint8_t* bits) {
  return pack_avx2(flags, count, bits);
}

}  // namespace bittwin
#endif
