// SPDX-License-Identifier: Apache-2.0
// The two-stage integer requantiser: accumulator in, output code out. Normative.
//
//   v    = (acc << lsh) * multiplier                 int64, exact
//   t    = R1(v / 2^shift1)                          rounding1
//   t    = t | clip(t, middle_lo, middle_hi) | low 16 bits of t      (middle)
//   code = R2(t / 2^shift2)                          rounding2
//   y    = clip(code + high + zero_point, lo, hi)    or the unsigned store, below
//
// Contract: acc any int32, and acc << lsh must itself fit int32 (fits_after_lsh; the caller refuses what
// does not). lsh 0..31, multiplier any int32, shift1 and shift2 0..62. Then v never leaves int64.
// `high` is a digital part in output units that joins before the one saturation.
// Store::wrap_u8 is the C-model's unsigned store: min(y, 255) and then the low 8 bits, so negatives wrap.
//
// The array readout of the WTM2101 is one parameter set: readout_params(gain):
//   lsh 0, multiplier 1, shift1 = log2(gain) - 2 toward_zero, shift2 = 2 half_up, -128..127.
// Worked example, gain 256: acc = 128 -> t = 2 -> code 1; acc = -191 -> t = -2 -> 0; acc = -192 -> t = -3 -> -1.
// Source: docs/spec/requantize.md, docs/spec/readout.md.
#pragma once

#include <cstdint>

#include "bittwin/rounding.h"
#include "bittwin/saturate.h"

namespace bittwin {

enum class Middle : int { exact, clip, wrap16 };
enum class Store : int { saturate, wrap_u8 };

struct TwoStage {
  int lsh = 0;
  int32_t multiplier = 1;
  int shift1 = 0;
  Rounding rounding1 = Rounding::half_up;
  Middle middle = Middle::exact;
  int64_t middle_lo = 0;
  int64_t middle_hi = 0;
  int shift2 = 0;
  Rounding rounding2 = Rounding::half_up;
  int64_t zero_point = 0;
  int64_t lo = -128;
  int64_t hi = 127;
  Store store = Store::saturate;
};

constexpr bool fits_after_lsh(int32_t acc, int lsh) {
  const int64_t room = int64_t{1} << (31 - lsh);
  return acc >= -room && acc < room;
}

// v of the formula above.
constexpr int64_t scaled_accumulator(int32_t acc, const TwoStage& p) {
  return static_cast<int64_t>(acc) * (int64_t{1} << p.lsh) * p.multiplier;
}

// The code before `high`, zero point and saturation.
constexpr int64_t unsaturated_code(int32_t acc, const TwoStage& p) {
  const int64_t v = scaled_accumulator(acc, p);
  int64_t t = rounding_shift_right(v, p.shift1, p.rounding1);
  if (p.middle == Middle::clip) t = saturate(t, p.middle_lo, p.middle_hi);
  if (p.middle == Middle::wrap16) t = wrapping_s16(t);
  return rounding_shift_right(t, p.shift2, p.rounding2);
}

constexpr int64_t store_code(int64_t code, int64_t lo, int64_t hi, Store store) {
  if (store == Store::wrap_u8) return (code < 255 ? code : 255) & 255;
  return saturate(code, lo, hi);
}

constexpr int64_t requantize(int32_t acc, const TwoStage& p, int64_t high = 0) {
  return store_code(unsaturated_code(acc, p) + high + p.zero_point, p.lo, p.hi, p.store);
}

// Does the real quotient lie within the output range, ends included? The straight-through gradient asks this
// of the number before rounding, so a value just above hi that rounds to hi is outside.
constexpr bool inside_limits(int32_t acc, const TwoStage& p) {
  const int64_t v = scaled_accumulator(acc, p);
  // Not v against lo * 2^(shift1 + shift2), which can leave int64. A floor of a floor is the floor of the whole.
  const int64_t below = floor_shift(floor_shift(v, p.shift1), p.shift2);
  const int64_t above =
      rounding_shift_right(rounding_shift_right(v, p.shift1, Rounding::ceil), p.shift2, Rounding::ceil);
  return below >= p.lo && above <= p.hi;
}

// log2_gain 8..15 (gain 256..32768).
constexpr TwoStage readout_params(int log2_gain, bool wrap16 = false) {
  TwoStage p;
  p.shift1 = log2_gain - 2;
  p.rounding1 = Rounding::toward_zero;
  p.middle = wrap16 ? Middle::wrap16 : Middle::exact;
  p.shift2 = 2;
  p.rounding2 = Rounding::half_up;
  return p;
}

// gain = 2^log2_gain, 0..30: clip(half_even(acc / gain)), pure integers.
constexpr TwoStage half_even_params(int log2_gain) {
  TwoStage p;
  p.shift1 = log2_gain;
  p.rounding1 = Rounding::half_even;
  return p;
}

static_assert(requantize(128, readout_params(8)) == 1, "+1 starts at gain / 2");
static_assert(requantize(127, readout_params(8)) == 0, "just below");
static_assert(requantize(-191, readout_params(8)) == 0, "still 0 at -0.75 gain + 1");
static_assert(requantize(-192, readout_params(8)) == -1, "-1 starts at -0.75 gain");
static_assert(requantize(256 * 8192, readout_params(8)) == 127, "saturates");
static_assert(requantize(256 * 8192, readout_params(8, true)) == -128, "the C-model's wrap");
static_assert(requantize(32767, readout_params(8), 100) == 127, "high joins before the clamp");
static_assert(requantize(127 * 256 + 12800, readout_params(8), -100) == 77, "array part not clamped first");
static_assert(requantize(384, half_even_params(8)) == 2 && requantize(-384, half_even_params(8)) == -2, "ties");
static_assert(inside_limits(127 * 256, readout_params(8)) && !inside_limits(127 * 256 + 1, readout_params(8)),
              "the end itself is inside");
static_assert(store_code(-1, -128, 127, Store::wrap_u8) == 255, "unsigned store wraps");
static_assert(!fits_after_lsh(1 << 30, 1) && fits_after_lsh(-(1 << 30), 1), "room after lsh");

}  // namespace bittwin
