// SPDX-License-Identifier: Apache-2.0
// Roundings by name, and the rounding right shift that every requantiser is built from.
//
// Contract of rounding_shift_right(v, n, mode): the integer next to v / 2^n that `mode` chooses.
//   v: any int64.  n: 0..62 (n = 0 returns v).  Never overflows: |result| <= |v|.
//   With q = floor(v / 2^n), r = v - q * 2^n (0 <= r < 2^n) and h = 2^(n-1) the result is q or q + 1.
// Worked example, v / 4 for v = -6 (= -1.5, a tie; q = -2, r = 2, h = 2):
//   half_even -2, half_up -1, half_away -2, toward_zero -1, floor -2.
// Source: docs/spec/rounding.md; the same table as TPU-MLIR and gemmlowp name them.
#pragma once

#include <cstdint>

namespace bittwin {

enum class Rounding : int {
  half_even,
  half_up,
  half_away,
  half_down,
  half_to_zero,
  half_to_odd,
  toward_zero,
  away,
  floor,
  ceil,
};

// Floor division by 2^n without shifting a negative number (C++17 leaves that to the compiler).
constexpr int64_t floor_shift(int64_t v, int n) {
  return v >= 0 ? v >> n : ~((~v) >> n);
}

constexpr int64_t rounding_shift_right(int64_t v, int n, Rounding mode) {
  if (n == 0) return v;
  const int64_t q = floor_shift(v, n);
  const uint64_t r = static_cast<uint64_t>(v) & ((uint64_t{1} << n) - 1);
  const uint64_t h = uint64_t{1} << (n - 1);
  const bool odd = (static_cast<uint64_t>(q) & 1) != 0;
  bool up = false;
  switch (mode) {
    case Rounding::half_even: up = r > h || (r == h && odd); break;
    case Rounding::half_up: up = r >= h; break;
    case Rounding::half_away: up = v >= 0 ? r >= h : r > h; break;
    case Rounding::half_down: up = r > h; break;
    case Rounding::half_to_zero: up = v >= 0 ? r > h : r >= h; break;
    case Rounding::half_to_odd: up = r > h || (r == h && !odd); break;
    case Rounding::toward_zero: up = v < 0 && r != 0; break;
    case Rounding::away: up = v > 0 && r != 0; break;
    case Rounding::floor: up = false; break;
    case Rounding::ceil: up = r != 0; break;
  }
  return q + (up ? 1 : 0);
}

// The same choice for a real number whose magnitude is below 2^62. Works on |v|, because |v| minus its
// integer part is exact in binary floating point, while v - floor(v) is not for small negative v.
template <typename Real>
constexpr int64_t round_real(Real v, Rounding mode) {
  const bool negative = v < 0;
  const Real a = negative ? -v : v;
  const int64_t t = static_cast<int64_t>(a);
  const Real f = a - static_cast<Real>(t);
  const Real half = static_cast<Real>(0.5);
  const bool odd = (t & 1) != 0;
  bool grow = false;  // does the magnitude go up?
  switch (mode) {
    case Rounding::half_even: grow = f > half || (f == half && odd); break;
    case Rounding::half_up: grow = negative ? f > half : f >= half; break;
    case Rounding::half_away: grow = f >= half; break;
    case Rounding::half_down: grow = negative ? f >= half : f > half; break;
    case Rounding::half_to_zero: grow = f > half; break;
    case Rounding::half_to_odd: grow = f > half || (f == half && !odd); break;
    case Rounding::toward_zero: grow = false; break;
    case Rounding::away: grow = f > 0; break;
    case Rounding::floor: grow = negative && f > 0; break;
    case Rounding::ceil: grow = !negative && f > 0; break;
  }
  const int64_t magnitude = t + (grow ? 1 : 0);
  return negative ? -magnitude : magnitude;
}

static_assert(rounding_shift_right(-6, 2, Rounding::half_even) == -2, "tie to even");
static_assert(rounding_shift_right(-6, 2, Rounding::half_up) == -1, "tie towards +infinity");
static_assert(rounding_shift_right(-6, 2, Rounding::half_away) == -2, "tie away from zero");
static_assert(rounding_shift_right(-7, 2, Rounding::toward_zero) == -1, "fraction dropped");
static_assert(rounding_shift_right(-1, 2, Rounding::floor) == -1, "towards -infinity");
static_assert(rounding_shift_right(INT64_MIN, 62, Rounding::half_even) == -2, "lower end");
static_assert(rounding_shift_right(INT64_MAX, 62, Rounding::half_up) == 2, "upper end");
static_assert(round_real(-2.5, Rounding::half_even) == -2, "tie to even, real");
static_assert(round_real(-0.49999997F, Rounding::half_away) == 0, "just under a tie");

}  // namespace bittwin
