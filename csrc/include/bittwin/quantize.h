// SPDX-License-Identifier: Apache-2.0
// Real values to input codes, and output codes to real values.
//
// Contract: quantize_value(v, q) = clamp(half_even(fl(fl(v * codes_per_unit) + shift)), lo, hi), each fl one
//   rounding in Real's own precision; `inside` tells whether the number before rounding lay in [lo, hi].
//   v must not be NaN (the caller refuses it); infinities saturate and are outside.
// Worked example, codes_per_unit 255, lo 0, hi 255: 0.5 -> 127.5 -> 128; 1.001 -> 255.255 -> 255, outside.
// Source: docs/spec/rounding.md; the training tool's measured order.
#pragma once

#include <cstdint>

#include "bittwin/rounding.h"

namespace bittwin {

template <typename Real>
struct InputRule {
  Real codes_per_unit = 1;
  Real shift = 0;  // codes added before rounding: a whole number
  int32_t lo = 0;
  int32_t hi = 255;
};

struct InputCode {
  int32_t code;
  bool inside;
};

template <typename Real>
constexpr InputCode quantize_value(Real v, const InputRule<Real>& q) {
  const Real product = v * q.codes_per_unit;
  const Real scaled = product + q.shift;
  const Real lo = static_cast<Real>(q.lo);
  const Real hi = static_cast<Real>(q.hi);
  if (scaled < lo) return {q.lo, false};
  if (scaled > hi) return {q.hi, false};
  return {static_cast<int32_t>(round_real(scaled, Rounding::half_even)), true};
}

static_assert(quantize_value(0.5F, InputRule<float>{255.0F, 0.0F, 0, 255}).code == 128, "tie to even");
static_assert(!quantize_value(-0.001F, InputRule<float>{255.0F, 0.0F, 0, 255}).inside, "just outside");
static_assert(quantize_value(-1.0F, InputRule<float>{64.0F, 128.0F, 0, 255}).code == 64, "shift mode");

}  // namespace bittwin
