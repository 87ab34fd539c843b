// SPDX-License-Identifier: Apache-2.0
// The accumulator proof: the lowest and highest sum that weights and bias of a column allow.
//
// Contract: for inputs in [x_lo, x_hi], x_lo <= 0 <= x_hi (every layer may see a zero, conv padding does):
// w is dense [n, k].
//   high[j] = bias[j] + sum_k max(w[j,k] * x_lo, w[j,k] * x_hi), low[j] likewise with min.
// Exact in int64. Every partial sum also stays within the bound of its column together with zero and the
// bias, so a layer whose bound fits INT32 never wraps, in any order of summation from the bias up.
// Worked example: w = [100, -100], x uint8, bias 1000: low -24500, high 26500.
#pragma once

#include <algorithm>
#include <cstdint>

namespace bittwin {

struct AccumulatorBound {
  int64_t low = 0;
  int64_t high = 0;
  int64_t column = -1;  // the column that comes nearest to an end of INT32 (-1: no columns)
};

template <typename W>
AccumulatorBound accumulator_bound_ref(const W* w, const int32_t* bias, int64_t n, int64_t k, int64_t x_lo,
                                       int64_t x_hi) {
  AccumulatorBound worst;
  int64_t reach = -1;
  for (int64_t j = 0; j < n; ++j) {
    int64_t positive = 0;
    int64_t negative = 0;
    for (int64_t p = 0; p < k; ++p) {
      const int64_t v = w[j * k + p];
      (v > 0 ? positive : negative) += v;
    }
    const int64_t b = bias != nullptr ? bias[j] : 0;
    const int64_t high = b + positive * x_hi + negative * x_lo;
    const int64_t low = b + positive * x_lo + negative * x_hi;
    worst.low = j == 0 ? low : std::min(worst.low, low);
    worst.high = j == 0 ? high : std::max(worst.high, high);
    const int64_t r = std::max(high, -low - 1);
    if (r > reach) {
      reach = r;
      worst.column = j;
    }
  }
  return worst;
}

}  // namespace bittwin
