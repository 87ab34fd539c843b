// SPDX-License-Identifier: Apache-2.0
// Requantise loops in 64 bits, for every rule the narrow loop has no room for: multipliers, left shifts,
// per-channel rules, a digital part. See requantize_loops.h, which includes this file.
#pragma once

#include <cstdint>

#include "kernels/loops.h"

namespace bittwin {

// An arithmetic right shift that has a vector form everywhere (AVX2 has none for int64).
BITTWIN_INLINE int64_t floor_shift_s64(int64_t v, int64_t n) {
  const uint64_t s = v < 0 ? ~uint64_t{0} : 0;
  return static_cast<int64_t>(((static_cast<uint64_t>(v) ^ s) >> n) ^ s);
}

// The numbers of one rounding in locals: loops write int32 codes, which might otherwise be any `int` of a plan.
struct WideShift {
  int64_t shift;
  uint64_t mask, base, if_negative, if_odd;
};

BITTWIN_INLINE WideShift wide_shift(const ShiftPlan& p) {
  return {p.shift, p.mask, p.base, p.if_negative, p.if_odd};
}

BITTWIN_INLINE int64_t rounded_s64(int64_t v, const WideShift& p) {
  const int64_t q = floor_shift_s64(v, p.shift);
  uint64_t r = (static_cast<uint64_t>(v) & p.mask) + p.base;
  r += (v < 0 ? ~uint64_t{0} : 0) & p.if_negative;
  r += (0 - (static_cast<uint64_t>(q) & 1)) & p.if_odd;
  return q + static_cast<int64_t>(r >> p.shift);
}

BITTWIN_INLINE int64_t clamped_s64(int64_t v, int64_t lo, int64_t hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

// One channel of a rule.
struct WideRule {
  uint64_t factor;  // 2^lsh * multiplier
  WideShift first, second;
};

BITTWIN_INLINE WideRule wide_rule(const ChannelPlan& c) {
  return {static_cast<uint64_t>(c.lsh_factor * c.multiplier), wide_shift(c.first), wide_shift(c.second)};
}

// v of the contract's formula. Modulo 2^64, for accumulators that do not fit after lsh: their codes mean nothing.
BITTWIN_INLINE int64_t scaled_s64(int32_t acc, uint64_t factor) {
  return static_cast<int64_t>(static_cast<uint64_t>(static_cast<int64_t>(acc)) * factor);
}

// The code before `high`, zero point and saturation.
template <bool Wrap16>
BITTWIN_INLINE int64_t wide_code(int32_t acc, const WideRule& rule, int64_t middle_lo, int64_t middle_hi) {
  int64_t t = clamped_s64(rounded_s64(scaled_s64(acc, rule.factor), rule.first), middle_lo, middle_hi);
  if (Wrap16) t = floor_shift_s64(static_cast<int64_t>(static_cast<uint64_t>(t) << 48), 48);
  return rounded_s64(t, rule.second);
}

// What every code of a rule goes through last. wrap_u8 limits above only and keeps the low 8 bits.
struct WideEnd {
  int64_t middle_lo, middle_hi, zero_point, lo, hi, bits;
};

BITTWIN_INLINE WideEnd wide_end(const RequantPlan& plan) {
  if (plan.store == Store::wrap_u8) return {plan.middle_lo, plan.middle_hi, plan.zero_point, INT64_MIN, 255, 255};
  return {plan.middle_lo, plan.middle_hi, plan.zero_point, plan.lo, plan.hi, -1};
}

template <bool Wrap16>
BITTWIN_INLINE int32_t ended_code(int32_t acc, int64_t high, const WideRule& rule, const WideEnd& end) {
  const int64_t whole = wide_code<Wrap16>(acc, rule, end.middle_lo, end.middle_hi);
  const uint64_t more = static_cast<uint64_t>(high) + static_cast<uint64_t>(end.zero_point);
  const auto code = static_cast<int64_t>(static_cast<uint64_t>(whole) + more);
  return static_cast<int32_t>(clamped_s64(code, end.lo, end.hi) & end.bits);
}

template <bool Wrap16, bool High>
BITTWIN_TARGET static void wide_codes(const RequantPlan& plan, const int32_t* acc, const int32_t* high,
                                      int64_t count, int32_t* codes) {
  const WideRule rule = wide_rule(plan.channels[0]);
  const WideEnd end = wide_end(plan);
  for (int64_t i = 0; i < count; ++i) codes[i] = ended_code<Wrap16>(acc[i], High ? high[i] : 0, rule, end);
}

// Does every acc << lsh fit int32, and is v within the output range? Before the codes, which may lie where acc
// does.
BITTWIN_TARGET static bool wide_checks(const ChannelPlan& channel, const int32_t* acc, int64_t count,
                                       uint8_t* inside) {
  const auto lowest = static_cast<int32_t>(channel.acc_lo);
  const auto highest = static_cast<int32_t>(channel.acc_hi);
  uint32_t outside = 0;
  for (int64_t i = 0; i < count; ++i) outside |= static_cast<uint32_t>((acc[i] < lowest) | (acc[i] > highest));
  if (inside == nullptr) return outside == 0;
  const WideRule rule = wide_rule(channel);
  const int64_t lo = channel.inside_lo;
  const int64_t hi = channel.inside_hi;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t v = scaled_s64(acc[i], rule.factor);
    inside[i] = static_cast<uint8_t>((v >= lo) & (v <= hi));
  }
  return outside == 0;
}

BITTWIN_TARGET static bool wide_run(const RequantPlan& plan, const int32_t* acc, const int32_t* high, int64_t count,
                                    int32_t* codes, uint8_t* inside) {
  const bool fits = wide_checks(plan.channels[0], acc, count, inside);
  if (plan.middle == Middle::wrap16) {
    (high != nullptr ? wide_codes<true, true> : wide_codes<true, false>)(plan, acc, high, count, codes);
  } else {
    (high != nullptr ? wide_codes<false, true> : wide_codes<false, false>)(plan, acc, high, count, codes);
  }
  return fits;
}

// Channels side by side: the numbers of a rule lie in plan.columns, one row per number (see requant_plan.h).
struct ChannelRows {
  const uint64_t* first;
  int64_t channels;
  BITTWIN_INLINE_MEMBER uint64_t at(PlanRow row, int64_t i) const { return first[row * channels + i]; }
};

template <bool Wrap16>
BITTWIN_TARGET static void channel_codes(const ChannelRows& given, const WideEnd& given_end, const int32_t* acc,
                                         const int32_t* high, int64_t count, int32_t* codes) {
  const ChannelRows r = given;
  const WideEnd end = given_end;
  for (int64_t i = 0; i < count; ++i) {
    const WideShift first{static_cast<int64_t>(r.at(kShift1, i)), r.at(kMask1, i), r.at(kBase1, i),
                          r.at(kNegative1, i), r.at(kOdd1, i)};
    const WideShift second{static_cast<int64_t>(r.at(kShift2, i)), r.at(kMask2, i), r.at(kBase2, i),
                           r.at(kNegative2, i), r.at(kOdd2, i)};
    codes[i] = ended_code<Wrap16>(acc[i], high[i], {r.at(kFactor, i), first, second}, end);
  }
}

BITTWIN_TARGET static bool channel_checks(const ChannelRows& given, const int32_t* acc, int64_t count,
                                          uint8_t* inside) {
  const ChannelRows r = given;
  uint64_t outside = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t a = acc[i];
    outside |= static_cast<uint64_t>((a < static_cast<int64_t>(r.at(kAccLo, i))) |
                                     (a > static_cast<int64_t>(r.at(kAccHi, i))));
  }
  for (int64_t i = 0; inside != nullptr && i < count; ++i) {
    const int64_t v = scaled_s64(acc[i], r.at(kFactor, i));
    inside[i] = static_cast<uint8_t>((v >= static_cast<int64_t>(r.at(kInsideLo, i))) &
                                     (v <= static_cast<int64_t>(r.at(kInsideHi, i))));
  }
  return outside == 0;
}

}  // namespace bittwin
