// SPDX-License-Identifier: Apache-2.0
// Requantisers within the limits of the contract (bittwin/requantize.h), the corners of it more often than not.
#pragma once

#include "kernels/requantizer.h"
#include "prng.h"

namespace bittwin::test {

// Output codes lie in lo..hi.
inline Requantizer random_rule(Prng& r, int64_t channels, int64_t lo, int64_t hi) {
  Requantizer rule;
  rule.stages.resize(static_cast<size_t>(channels));
  const auto rounding = [&] { return static_cast<Rounding>(r.in(0, static_cast<int64_t>(Rounding::ceil))); };
  TwoStage first;
  first.lo = lo;
  first.hi = hi;
  if (channels == 1 && r.chance(20)) {
    const float scales[] = {1.0F, 3.0F, 1.5F, 256.0F, 1e-20F, 7.25F, 1e30F};
    rule.scale_product = r.one_of(scales);
    rule.codes_per_unit = r.one_of(scales);
    rule.stages[0] = first;
    return rule;
  }
  const bool plain = r.chance(50);  // what the fast loops are for
  first.rounding1 = rounding();
  first.rounding2 = rounding();
  const Middle middles[] = {Middle::exact, Middle::clip, Middle::wrap16};
  first.middle = r.one_of(middles);
  first.middle_lo = r.chance(50) ? INT32_MIN : -r.in(0, 40000);
  first.middle_hi = r.chance(50) ? INT32_MAX : r.in(0, 40000);
  first.zero_point = r.chance(50) ? 0 : r.in(-300, 300);
  first.store = lo == 0 && hi == 255 && r.chance(30) ? Store::wrap_u8 : Store::saturate;
  for (TwoStage& s : rule.stages) {
    s = first;
    s.shift1 = static_cast<int>(r.chance(80) ? r.in(0, 24) : r.in(25, plain ? 31 : 62));
    s.shift2 = static_cast<int>(r.chance(50) ? 0 : r.chance(80) ? r.in(1, 6) : r.in(7, plain ? 31 : 62));
    if (plain) continue;
    s.lsh = static_cast<int>(r.chance(50) ? 0 : r.in(0, 31));
    s.multiplier = r.code<int32_t>();
  }
  return rule;
}

// Like INT32, but with many in the range where codes are not saturated.
inline int32_t random_acc(Prng& r) {
  if (r.chance(40)) return r.code<int32_t>();
  const int64_t reach = int64_t{1} << r.in(0, 31);
  return static_cast<int32_t>(r.in(-reach, reach - 1));
}

}  // namespace bittwin::test
