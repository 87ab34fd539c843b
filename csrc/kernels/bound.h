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
#include <vector>

namespace bittwin {

struct AccumulatorBound {
  int64_t low = 0;
  int64_t high = 0;
  int64_t column = -1;  // the column that comes nearest to an end of INT32 (-1: no columns)
};

// All that a bound needs of a column's weights.
struct ColumnSum {
  int64_t positive = 0;
  int64_t negative = 0;
};

template <typename W>
ColumnSum sum_of_run(const W* w, int64_t count) {
  constexpr int64_t kChunk = 1 << 16;  // sums of so many int16 codes stay within int32: that is a fast loop
  ColumnSum sum;
  for (int64_t first = 0; first < count; first += kChunk) {
    const int64_t n = std::min(kChunk, count - first);
    int32_t positive = 0;
    int32_t negative = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int32_t v = w[first + i];
      positive += std::max(v, 0);
      negative += std::min(v, 0);
    }
    sum.positive += positive;
    sum.negative += negative;
  }
  return sum;
}

// Sums per column of dense weights [outer, n, inner]: outer 1 for [n, k], else a transposed convolution.
template <typename W>
std::vector<ColumnSum> column_sums(const W* w, int64_t outer, int64_t n, int64_t inner) {
  std::vector<ColumnSum> sums(static_cast<size_t>(n));
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t j = 0; j < n; ++j) {
      const ColumnSum run = sum_of_run(w + (o * n + j) * inner, inner);
      sums[static_cast<size_t>(j)].positive += run.positive;
      sums[static_cast<size_t>(j)].negative += run.negative;
    }
  }
  return sums;
}

inline AccumulatorBound bound_of(const std::vector<ColumnSum>& sums, const int32_t* bias, int64_t x_lo,
                                 int64_t x_hi) {
  AccumulatorBound worst;
  int64_t reach = -1;
  for (size_t j = 0; j < sums.size(); ++j) {
    const int64_t positive = sums[j].positive;
    const int64_t negative = sums[j].negative;
    const int64_t b = bias != nullptr ? bias[j] : 0;
    const int64_t high = b + positive * x_hi + negative * x_lo;
    const int64_t low = b + positive * x_lo + negative * x_hi;
    worst.low = j == 0 ? low : std::min(worst.low, low);
    worst.high = j == 0 ? high : std::max(worst.high, high);
    const int64_t r = std::max(high, -low - 1);
    if (r > reach) {
      reach = r;
      worst.column = static_cast<int64_t>(j);
    }
  }
  return worst;
}

template <typename W>
AccumulatorBound accumulator_bound_ref(const W* w, const int32_t* bias, int64_t n, int64_t k, int64_t x_lo,
                                       int64_t x_hi) {
  return bound_of(column_sums(w, 1, n, k), bias, x_lo, x_hi);
}

// Do columns whose sums lie in [extreme.negative, extreme.positive] fit whatever they are? True proves it;
// false proves nothing, then bound_of has to look at every column.
inline bool surely_fits(const ColumnSum& extreme, const int32_t* bias, int64_t n, int64_t x_lo, int64_t x_hi) {
  int32_t least = 0;
  int32_t most = 0;
  for (int64_t j = 0; bias != nullptr && j < n; ++j) {
    least = std::min(least, bias[j]);
    most = std::max(most, bias[j]);
  }
  return extreme.positive * x_hi + extreme.negative * x_lo + most <= INT32_MAX &&
         extreme.positive * x_lo + extreme.negative * x_hi + least >= INT32_MIN;
}

}  // namespace bittwin
