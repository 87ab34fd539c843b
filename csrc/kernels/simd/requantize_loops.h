// SPDX-License-Identifier: Apache-2.0
// Requantise loops, written so that a compiler turns them into vectors of whatever BITTWIN_TARGET names.
// Included once per instruction set; internal linkage, so that no such code reaches another CPU.
//
// Exact by construction: every line is the branch-free form of bittwin/requantize.h (see requant_plan.h);
// tests run all 2^32 accumulators through each instruction set against the header.
#pragma once

#include <cstdint>

#include "kernels/loops.h"

#ifndef BITTWIN_TARGET
#error "define BITTWIN_TARGET before including this file"
#endif
#define BITTWIN_INLINE BITTWIN_TARGET static inline __attribute__((always_inline))
#define BITTWIN_INLINE_MEMBER BITTWIN_TARGET inline __attribute__((always_inline))

#include "kernels/simd/wide_loops.h"

namespace bittwin {

// What a rounding needs besides the shift: most rules need less than all of it.
enum StepKind { kNoShift, kBase, kSign, kOdd };

inline StepKind step_kind(const ShiftPlan& p) {
  return p.shift == 0 ? kNoShift : p.if_odd != 0 ? kOdd : p.if_negative != 0 ? kSign : kBase;
}

struct NarrowShift {
  int shift;
  uint32_t mask, base, if_negative, if_odd;
};

inline NarrowShift narrow_shift(const ShiftPlan& p) {
  return {p.shift, static_cast<uint32_t>(p.mask), static_cast<uint32_t>(p.base),
          static_cast<uint32_t>(p.if_negative), static_cast<uint32_t>(p.if_odd)};
}

// int32 is enough: r + extra < 2^(n+1) <= 2^32 for n <= 31.
template <StepKind Kind>
BITTWIN_INLINE int32_t rounded_s32(int32_t v, NarrowShift p) {
  if (Kind == kNoShift) return v;
  const int32_t q = v >> p.shift;
  uint32_t r = (static_cast<uint32_t>(v) & p.mask) + p.base;
  if (Kind != kBase) r += static_cast<uint32_t>(v >> 31) & p.if_negative;
  if (Kind == kOdd) r += (0U - (static_cast<uint32_t>(q) & 1U)) & p.if_odd;
  return static_cast<int32_t>(static_cast<uint32_t>(q) + (r >> p.shift));
}

BITTWIN_INLINE int32_t clamped_s32(int32_t v, int32_t lo, int32_t hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

BITTWIN_INLINE int32_t int32_limit(int64_t v) {
  return v < INT32_MIN ? INT32_MIN : v > INT32_MAX ? INT32_MAX : static_cast<int32_t>(v);
}

template <StepKind First, StepKind Second, Middle Mid>
BITTWIN_TARGET static void narrow_loop(const RequantPlan& plan, const int32_t* acc, int64_t count, int32_t* codes) {
  const NarrowShift first = narrow_shift(plan.channels[0].first);
  const NarrowShift second = narrow_shift(plan.channels[0].second);
  const int32_t middle_lo = int32_limit(plan.middle_lo);
  const int32_t middle_hi = int32_limit(plan.middle_hi);
  const int32_t zero_point = static_cast<int32_t>(plan.zero_point);
  const int32_t lo = static_cast<int32_t>(plan.lo - plan.zero_point);
  const int32_t hi = static_cast<int32_t>(plan.hi - plan.zero_point);
  for (int64_t i = 0; i < count; ++i) {
    int32_t t = rounded_s32<First>(acc[i], first);
    if (Mid == Middle::clip) t = clamped_s32(t, middle_lo, middle_hi);
    if (Mid == Middle::wrap16) t = static_cast<int32_t>(static_cast<uint32_t>(t) << 16) >> 16;
    codes[i] = clamped_s32(rounded_s32<Second>(t, second), lo, hi) + zero_point;
  }
}

using NarrowLoop = void (*)(const RequantPlan&, const int32_t*, int64_t, int32_t*);

template <StepKind First, StepKind Second>
inline NarrowLoop narrow_loop_of(Middle middle) {
  if (middle == Middle::clip) return narrow_loop<First, Second, Middle::clip>;
  if (middle == Middle::wrap16) return narrow_loop<First, Second, Middle::wrap16>;
  return narrow_loop<First, Second, Middle::exact>;
}

template <StepKind First>
static NarrowLoop narrow_loop_of(StepKind second, Middle middle) {
  if (second == kNoShift) return narrow_loop_of<First, kNoShift>(middle);
  if (second == kBase) return narrow_loop_of<First, kBase>(middle);
  if (second == kSign) return narrow_loop_of<First, kSign>(middle);
  return narrow_loop_of<First, kOdd>(middle);
}

static NarrowLoop narrow_loop_of(const RequantPlan& plan) {
  const StepKind first = step_kind(plan.channels[0].first);
  const StepKind second = step_kind(plan.channels[0].second);
  if (first == kNoShift) return narrow_loop_of<kNoShift>(second, plan.middle);
  if (first == kBase) return narrow_loop_of<kBase>(second, plan.middle);
  if (first == kSign) return narrow_loop_of<kSign>(second, plan.middle);
  return narrow_loop_of<kOdd>(second, plan.middle);
}

BITTWIN_TARGET static void narrow_inside(const RequantPlan& plan, const int32_t* acc, int64_t count,
                                         uint8_t* inside) {
  const int64_t inside_lo = plan.channels[0].inside_lo;
  const int64_t inside_hi = plan.channels[0].inside_hi;
  const bool none = inside_lo > INT32_MAX || inside_hi < INT32_MIN;
  const int32_t lo = none ? 1 : int32_limit(inside_lo);
  const int32_t hi = none ? 0 : int32_limit(inside_hi);
  for (int64_t i = 0; i < count; ++i) inside[i] = static_cast<uint8_t>((acc[i] >= lo) & (acc[i] <= hi));
}

// half_even by an addition that leaves no room for a fraction: exact for |v| <= 2^22 in round-to-nearest.
BITTWIN_TARGET static void f32_loop(const RequantPlan& plan, const int32_t* acc, int64_t count, int32_t* codes) {
  const float scale_product = plan.rule->scale_product;
  const float codes_per_unit = plan.rule->codes_per_unit;
  const float lo = static_cast<float>(plan.lo);
  const float hi = static_cast<float>(plan.hi);
  const float magic = 12582912.0F;  // 1.5 * 2^23
  for (int64_t i = 0; i < count; ++i) {
    const float scaled = static_cast<float>(acc[i]) / scale_product * codes_per_unit;
    const float limited = scaled < lo ? lo : scaled > hi ? hi : scaled;
    const float whole = limited + magic;
    codes[i] = static_cast<int32_t>(whole - magic);
  }
}

BITTWIN_TARGET static void f32_inside(const RequantPlan& plan, const int32_t* acc, int64_t count, uint8_t* inside) {
  const float scale_product = plan.rule->scale_product;
  const float codes_per_unit = plan.rule->codes_per_unit;
  const float lo = static_cast<float>(plan.lo);
  const float hi = static_cast<float>(plan.hi);
  for (int64_t i = 0; i < count; ++i) {
    const float scaled = static_cast<float>(acc[i]) / scale_product * codes_per_unit;
    inside[i] = static_cast<uint8_t>((scaled >= lo) & (scaled <= hi));
  }
}

BITTWIN_TARGET static bool requantize_run(const RequantPlan& plan, const int32_t* acc, const int32_t* high,
                                          int64_t count, int32_t* codes, uint8_t* inside) {
  if (plan.rule->is_f32()) {
    if (inside != nullptr) f32_inside(plan, acc, count, inside);
    if (plan.magic_f32 && high == nullptr) {
      f32_loop(plan, acc, count, codes);
      return true;
    }
    const Requantizer& rule = *plan.rule;
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = static_cast<int32_t>(requantize_half_even_f32(acc[i], rule.scale_product, rule.codes_per_unit,
                                                               plan.lo, plan.hi, high != nullptr ? high[i] : 0));
    }
    return true;
  }
  if (plan.narrow && high == nullptr) {
    if (inside != nullptr) narrow_inside(plan, acc, count, inside);
    narrow_loop_of(plan)(plan, acc, count, codes);
    return true;
  }
  return wide_run(plan, acc, high, count, codes, inside);
}

BITTWIN_TARGET static bool requantize_channels_run(const RequantPlan& plan, int64_t channel0, const int32_t* acc,
                                                   const int32_t* high, int64_t count, int32_t* codes,
                                                   uint8_t* inside) {
  constexpr int64_t kRun = 64;
  const int32_t none[kRun] = {};
  const WideEnd end = wide_end(plan);
  bool fits = true;
  for (int64_t i = 0; i < count; i += kRun) {
    const int64_t n = count - i < kRun ? count - i : kRun;
    const ChannelRows rows{plan.columns.data() + channel0 + i, static_cast<int64_t>(plan.channels.size())};
    fits = channel_checks(rows, acc + i, n, inside != nullptr ? inside + i : nullptr) && fits;
    const auto codes_of = plan.middle == Middle::wrap16 ? channel_codes<true> : channel_codes<false>;
    codes_of(rows, end, acc + i, high != nullptr ? high + i : none, n, codes + i);
  }
  return fits;
}

BITTWIN_TARGET static void split_run(const RequantPlan& plan, const SplitRule& split, const int32_t* low,
                                     const int32_t* high, const int32_t* digital, int64_t count, int32_t* codes,
                                     uint8_t* inside, uint8_t* low_inside) {
  const Requantizer& rule = *plan.rule;
  const WideRule c = wide_rule(plan.channels[0]);
  const int64_t middle_lo = plan.middle_lo;
  const int64_t middle_hi = plan.middle_hi;
  const bool wrap16 = plan.middle == Middle::wrap16;
  const bool f32 = rule.is_f32();
  const WideShift high_shift = wide_shift(shift_plan(split.log2_gain, split.high_rounding));
  const int64_t low_lo = split.limit_low ? split.low_lo : INT64_MIN;
  const int64_t low_hi = split.limit_low ? split.low_hi : INT64_MAX;
  const int shift = rule.stages[0].shift1 + rule.stages[0].shift2;
  const int64_t inside_lo = limit_times(split.low_lo, shift);
  const int64_t inside_hi = limit_times(split.low_hi, shift);
  for (int64_t i = 0; i < count; ++i) {
    int64_t sum = 0;
    if (f32) {
      sum = low_code(low[i], rule, split) + high_code(high[i], digital[i], rule, split);
    } else {
      const int64_t total = int64_t{256} * high[i] + digital[i];
      const int64_t code = wrap16 ? wide_code<true>(low[i], c, middle_lo, middle_hi)
                                  : wide_code<false>(low[i], c, middle_lo, middle_hi);
      sum = clamped_s64(code, low_lo, low_hi) + rounded_s64(total, high_shift);
    }
    if (low_inside != nullptr) {  // before codes[i], which may lie where low[i] does
      if (!split.limit_low) {
        low_inside[i] = 1;
      } else if (f32) {
        const float v = half_even_f32_scaled(low[i], rule.scale_product, rule.codes_per_unit);
        low_inside[i] = v >= static_cast<float>(low_lo) && v <= static_cast<float>(low_hi) ? 1 : 0;
      } else {
        const int64_t v = scaled_s64(low[i], c.factor);
        low_inside[i] = v >= inside_lo && v <= inside_hi ? 1 : 0;
      }
    }
    const int64_t code = clamped_s64(sum, plan.lo, plan.hi);
    codes[i] = static_cast<int32_t>(code);
    if (inside != nullptr) inside[i] = code == sum ? 1 : 0;
  }
}

}  // namespace bittwin
