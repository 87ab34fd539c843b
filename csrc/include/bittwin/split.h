// SPDX-License-Identifier: Apache-2.0
// 9..12-bit inputs in two rounds: sign-magnitude split into the low 8 bits and the bits above.
//
// Contract: x = x_lo + 256 * x_hi with |x_lo| <= 255 and both parts carrying the sign of x.
//   A floor split (x >> 8, x & 255) is different for negative x: -1 would be (-1, 255).
//   split_code adds the parts of a split round: the low code, limited to [low_lo, low_hi] where the rule
//   says so, plus the digital part, one saturation at the end.
// Worked example: x = -300: x_lo = -44, x_hi = -1.
// Source: docs/spec/split.md.
#pragma once

#include <cstdint>

#include "bittwin/rounding.h"
#include "bittwin/saturate.h"

namespace bittwin {

constexpr int32_t split_low(int32_t x) {
  return x >= 0 ? (x & 255) : -((-x) & 255);
}
constexpr int32_t split_high(int32_t x) {
  return x >= 0 ? (x >> 8) : -((-x) >> 8);
}

// The digital part in output units: (256 * sum(x_hi * w) + bias_digital) / 2^log2_gain, rounded.
constexpr int64_t digital_part(int64_t acc_high, int64_t bias_digital, int log2_gain, Rounding rounding) {
  return rounding_shift_right(256 * acc_high + bias_digital, log2_gain, rounding);
}

// The same part in the training tool's float32 order: the total rounded to float32, divided by a gain that
// was itself rounded to an integer, then half even.
constexpr int64_t digital_part_f32(int64_t acc_high, int64_t bias_digital, float whole_gain) {
  const float total = static_cast<float>(256 * acc_high + bias_digital);
  return round_real(total / whole_gain, Rounding::half_even);
}

static_assert(split_low(-300) == -44 && split_high(-300) == -1, "sign and magnitude");
static_assert(split_low(4095) == 255 && split_high(4095) == 15, "upper end of 12 bits");
static_assert(digital_part(1, 0, 9, Rounding::half_even) == 0, "256 / 512 is a tie: to even");
static_assert(digital_part_f32(1, 0, 9.0F) == 28, "256 / 9 = 28.4");
static_assert(digital_part(3, -256, 9, Rounding::half_even) == 1, "512 / 512");

}  // namespace bittwin
