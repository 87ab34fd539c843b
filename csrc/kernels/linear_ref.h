// SPDX-License-Identifier: Apache-2.0
// linear_xxyy_s32_ref: the normative matrix product. Shortest correct form.
// uint32 arithmetic makes the wrap of a refused-or-asked-for overflow well defined.
// |x * w| <= 65535 * 32768 < 2^31, so a single product always fits int32.
#pragma once

#include "kernels/kernels.h"

namespace bittwin {

template <typename X, typename W>
void linear_ref(const void* x_data, const void* w_data, const int32_t* bias, int32_t* acc, LinearShape s) {
  const X* x = static_cast<const X*>(x_data);
  const W* w = static_cast<const W*>(w_data);
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      uint32_t sum = bias != nullptr ? static_cast<uint32_t>(bias[j]) : 0U;
      for (int64_t p = 0; p < s.k; ++p) {
        sum += static_cast<uint32_t>(int32_t{x[i * s.k + p]} * int32_t{w[j * s.k + p]});
      }
      acc[i * s.n + j] = static_cast<int32_t>(sum);
    }
  }
}

}  // namespace bittwin
