// SPDX-License-Identifier: Apache-2.0
// half_even_f32: the one rule with floats between codes. It follows the float32 order of the vendor's
// training tool for scales that are not powers of two (two float32 roundings, then half even).
//
//   y = clip( half_even( fl32( fl32( fl32(acc) / scale_product ) * codes_per_unit ) ) + high, lo, hi )
//
// Contract: scale_product and codes_per_unit are finite float32 > 0. The code before `high` is kept within
// +-2^40, far outside any output range, so infinities saturate and no NaN can arise.
// Worked example: acc = 5, scale_product = 3, codes_per_unit = 1.5: fl32(5/3) = 1.6666666, * 1.5 = 2.5 -> 2.
// Needs plain IEEE float32: no fused multiply-add, no extended precision (the build says -ffp-contract=off).
// Source: docs/spec/half_even_f32.md.
#pragma once

#include <cstdint>

#include "bittwin/rounding.h"
#include "bittwin/saturate.h"

namespace bittwin {

// The real number that is rounded: two float32 roundings.
constexpr float half_even_f32_scaled(int32_t acc, float scale_product, float codes_per_unit) {
  const float value = static_cast<float>(acc) / scale_product;
  return value * codes_per_unit;
}

constexpr int64_t half_even_f32_code(int32_t acc, float scale_product, float codes_per_unit) {
  constexpr float kFar = 1099511627776.0F;  // 2^40
  const float scaled = half_even_f32_scaled(acc, scale_product, codes_per_unit);
  const float limited = scaled > kFar ? kFar : scaled < -kFar ? -kFar : scaled;
  return round_real(limited, Rounding::half_even);
}

constexpr int64_t requantize_half_even_f32(int32_t acc, float scale_product, float codes_per_unit, int64_t lo,
                                           int64_t hi, int64_t high = 0) {
  return saturate(half_even_f32_code(acc, scale_product, codes_per_unit) + high, lo, hi);
}

static_assert(half_even_f32_code(5, 3.0F, 1.5F) == 2, "tie to even after two float32 roundings");
static_assert(requantize_half_even_f32(INT32_MAX, 1e-20F, 1e5F, -128, 127) == 127, "far beyond the end");

}  // namespace bittwin
