// SPDX-License-Identifier: Apache-2.0
// A requantiser, prepared for loops: the same numbers as bittwin/requantize.h computes, without branches.
//
// Every rounding right shift of the contract is  q + ((r + extra) >> n)  with q = floor(v / 2^n), r the n bits
// below, and  extra = base + (v < 0 ? if_negative : 0) + (q odd ? if_odd : 0).  Because r + extra < 2^(n+1) the
// second term is 0 or 1 and nothing overflows.
// Worked example, half_even, n = 2: base 1, if_odd 1. v = 6 (1.5): q 1 odd, r 2: (2 + 1 + 1) >> 2 = 1 -> 2.
//                                                     v = 10 (2.5): q 2 even, r 2: (2 + 1) >> 2 = 0 -> 2.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/requantizer.h"

namespace bittwin {

struct ShiftPlan {
  int shift = 0;
  uint64_t mask = 0;
  uint64_t base = 0;
  uint64_t if_negative = 0;  // added modulo 2^64
  uint64_t if_odd = 0;
};

constexpr ShiftPlan shift_plan(int n, Rounding mode) {
  ShiftPlan p{};
  p.shift = n;
  if (n == 0) return p;
  const uint64_t h = uint64_t{1} << (n - 1);
  const uint64_t most = (uint64_t{1} << n) - 1;
  p.mask = most;
  switch (mode) {
    case Rounding::half_even: p.base = h - 1, p.if_odd = 1; break;
    case Rounding::half_up: p.base = h; break;
    case Rounding::half_away: p.base = h, p.if_negative = ~uint64_t{0}; break;
    case Rounding::half_down: p.base = h - 1; break;
    case Rounding::half_to_zero: p.base = h - 1, p.if_negative = 1; break;
    case Rounding::half_to_odd: p.base = h, p.if_odd = ~uint64_t{0}; break;
    case Rounding::toward_zero: p.if_negative = most; break;
    case Rounding::away: p.base = most, p.if_negative = uint64_t{0} - most; break;
    case Rounding::floor: break;
    case Rounding::ceil: p.base = most; break;
  }
  return p;
}

// One channel of the integer rule.
struct ChannelPlan {
  ShiftPlan first, second;
  int64_t lsh_factor = 1;  // 2^lsh
  int64_t multiplier = 1;
  int64_t acc_lo = INT32_MIN;  // acc << lsh fits int32 between these
  int64_t acc_hi = INT32_MAX;
  int64_t inside_lo = 0;  // v of the formula lies in the output range between these
  int64_t inside_hi = 0;
};

// Rows of RequantPlan::columns: the numbers of ChannelPlan, each for all channels, as bits of 64.
enum PlanRow : int {
  kFactor,  // 2^lsh * multiplier
  kShift1,
  kMask1,
  kBase1,
  kNegative1,
  kOdd1,
  kShift2,
  kMask2,
  kBase2,
  kNegative2,
  kOdd2,
  kAccLo,
  kAccHi,
  kInsideLo,
  kInsideHi,
  kPlanRows,
};

struct RequantPlan {
  const Requantizer* rule = nullptr;
  std::vector<uint64_t> columns;      // [kPlanRows, channels]
  std::vector<ChannelPlan> channels;  // one, or one per channel
  Middle middle = Middle::exact;
  int64_t middle_lo = INT64_MIN;
  int64_t middle_hi = INT64_MAX;
  int64_t zero_point = 0;
  int64_t lo = 0;
  int64_t hi = 0;
  Store store = Store::saturate;
  bool may_refuse = false;  // some lsh > 0: an accumulator may leave int32
  bool narrow = false;      // per tensor, everything stays within int32: the fast loop
  bool magic_f32 = false;   // half_even_f32 with an output range within +-2^22: rounds by an addition
};

inline int64_t limit_times(int64_t limit, int n) {
  // limit * 2^n, saturating: beyond int64 nothing compares greater anyway
  if (n > 62) return limit > 0 ? INT64_MAX : limit < 0 ? INT64_MIN : 0;
  const int64_t room = INT64_MAX >> n;
  return limit > room ? INT64_MAX : limit < -room ? INT64_MIN : limit * (int64_t{1} << n);
}

inline std::vector<uint64_t> plan_columns(const std::vector<ChannelPlan>& channels) {
  std::vector<uint64_t> columns(kPlanRows * channels.size());
  for (size_t i = 0; i < channels.size(); ++i) {
    const ChannelPlan& c = channels[i];
    const auto put = [&](PlanRow row, auto v) {
      columns[static_cast<size_t>(row) * channels.size() + i] = static_cast<uint64_t>(v);
    };
    put(kFactor, c.lsh_factor * c.multiplier);
    put(kShift1, c.first.shift), put(kMask1, c.first.mask), put(kBase1, c.first.base);
    put(kNegative1, c.first.if_negative), put(kOdd1, c.first.if_odd);
    put(kShift2, c.second.shift), put(kMask2, c.second.mask), put(kBase2, c.second.base);
    put(kNegative2, c.second.if_negative), put(kOdd2, c.second.if_odd);
    put(kAccLo, c.acc_lo), put(kAccHi, c.acc_hi), put(kInsideLo, c.inside_lo), put(kInsideHi, c.inside_hi);
  }
  return columns;
}

inline RequantPlan requant_plan(const Requantizer& rule) {
  const TwoStage& p = rule.stages[0];
  RequantPlan plan;
  plan.rule = &rule;
  plan.middle = p.middle;
  if (p.middle == Middle::clip) plan.middle_lo = p.middle_lo, plan.middle_hi = p.middle_hi;
  plan.zero_point = p.zero_point;
  plan.lo = p.lo;
  plan.hi = p.hi;
  plan.store = p.store;
  for (const TwoStage& s : rule.stages) {
    ChannelPlan c;
    plan.may_refuse = plan.may_refuse || s.lsh > 0;
    c.first = shift_plan(s.shift1, s.rounding1);
    c.second = shift_plan(s.shift2, s.rounding2);
    c.lsh_factor = int64_t{1} << s.lsh;
    c.multiplier = s.multiplier;
    c.acc_lo = -(int64_t{1} << (31 - s.lsh));
    c.acc_hi = (int64_t{1} << (31 - s.lsh)) - 1;
    c.inside_lo = limit_times(s.lo, s.shift1 + s.shift2);
    c.inside_hi = limit_times(s.hi, s.shift1 + s.shift2);
    plan.channels.push_back(c);
  }
  plan.columns = plan_columns(plan.channels);
  const auto fits = [](int64_t v) { return v >= INT32_MIN && v <= INT32_MAX; };
  plan.narrow = !rule.is_f32() && rule.stages.size() == 1 && p.lsh == 0 && p.multiplier == 1 && p.shift1 <= 31 &&
                p.shift2 <= 31 && p.store == Store::saturate && fits(p.zero_point) && fits(p.lo) && fits(p.hi) &&
                fits(p.lo - p.zero_point) && fits(p.hi - p.zero_point);
  const int64_t far = int64_t{1} << 22;
  plan.magic_f32 = rule.is_f32() && p.lo >= -far && p.hi <= far;
  return plan;
}

static_assert(shift_plan(2, Rounding::half_even).base == 1 && shift_plan(2, Rounding::half_even).if_odd == 1,
              "the worked example");

}  // namespace bittwin
