// SPDX-License-Identifier: Apache-2.0
// Bias rows: rows driven with the constant input 128 that hold an int8 code per column.
//
// Contract: quantize_bias_units(b, rows) is the representable bias nearest to b accumulator units:
//   128 * clamp(half_even(b / 128), -128 * rows, 127 * rows).
// The real-number form takes b already scaled (bias value * codes per unit) in float32 or float64.
// Worked example: b = 192 (a tie, 1.5 rows' units) -> 256; b = 64 (0.5) -> 0; b = 20000 with one row -> 16256.
// Source: docs/spec/bias.md.
#pragma once

#include <cstdint>

#include "bittwin/rounding.h"
#include "bittwin/saturate.h"

namespace bittwin {

inline constexpr int kBiasStep = 128;

constexpr int64_t quantize_bias_units(int64_t b, int rows) {
  const int64_t count = rounding_shift_right(b, 7, Rounding::half_even);
  return kBiasStep * saturate(count, -128 * int64_t{rows}, 127 * int64_t{rows});
}

template <typename Real>
constexpr int64_t quantize_bias_real(Real b, int rows) {
  const Real scaled = b / static_cast<Real>(kBiasStep);
  const Real lo = static_cast<Real>(-128 * rows);
  const Real hi = static_cast<Real>(127 * rows);
  const Real limited = scaled < lo ? lo : scaled > hi ? hi : scaled;
  return kBiasStep * round_real(limited, Rounding::half_even);
}

static_assert(quantize_bias_units(192, 8) == 256 && quantize_bias_units(64, 8) == 0, "ties to even");
static_assert(quantize_bias_units(20000, 1) == 127 * 128, "limited by the rows");
static_assert(quantize_bias_real(-20000.0F, 1) == -128 * 128, "lower limit");

}  // namespace bittwin
