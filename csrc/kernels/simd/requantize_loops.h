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

// An arithmetic right shift that has a vector form everywhere (AVX2 has none for int64).
BITTWIN_INLINE int64_t floor_shift_s64(int64_t v, int n) {
  const uint64_t s = v < 0 ? ~uint64_t{0} : 0;
  return static_cast<int64_t>(((static_cast<uint64_t>(v) ^ s) >> n) ^ s);
}

BITTWIN_INLINE int64_t rounded_s64(int64_t v, const ShiftPlan& p) {
  const int64_t q = floor_shift_s64(v, p.shift);
  uint64_t r = (static_cast<uint64_t>(v) & p.mask) + p.base;
  r += (v < 0 ? ~uint64_t{0} : 0) & p.if_negative;
  r += (0 - (static_cast<uint64_t>(q) & 1)) & p.if_odd;
  return q + static_cast<int64_t>(r >> p.shift);
}

BITTWIN_INLINE int64_t clamped_s64(int64_t v, int64_t lo, int64_t hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

// v of the contract's formula. Modulo 2^64, for accumulators that do not fit after lsh: their codes mean nothing.
BITTWIN_INLINE int64_t scaled_s64(int32_t acc, const ChannelPlan& c) {
  return static_cast<int64_t>(static_cast<uint64_t>(acc) * static_cast<uint64_t>(c.lsh_factor * c.multiplier));
}

// The code before `high`, zero point and saturation.
BITTWIN_INLINE int64_t wide_code(int32_t acc, const ChannelPlan& c, const RequantPlan& plan, bool wrap16) {
  const int64_t v = scaled_s64(acc, c);
  int64_t t = clamped_s64(rounded_s64(v, c.first), plan.middle_lo, plan.middle_hi);
  if (wrap16) t = floor_shift_s64(static_cast<int64_t>(static_cast<uint64_t>(t) << 48), 48);
  return rounded_s64(t, c.second);
}

template <bool PerChannel>
BITTWIN_TARGET static bool wide_loop(const RequantPlan& plan, int64_t channel0, const int32_t* acc,
                                     const int32_t* high, int64_t count, int32_t* codes, uint8_t* inside) {
  const bool wrap16 = plan.middle == Middle::wrap16;
  const bool wrap_u8 = plan.store == Store::wrap_u8;
  const ChannelPlan* channels = plan.channels.data() + channel0;
  bool fits = true;
  for (int64_t i = 0; i < count; ++i) {
    const ChannelPlan& c = channels[PerChannel ? i : 0];
    fits = fits && acc[i] >= c.acc_lo && acc[i] <= c.acc_hi;
    if (inside != nullptr) {  // before codes[i], which may lie where acc[i] does
      const int64_t v = scaled_s64(acc[i], c);
      inside[i] = v >= c.inside_lo && v <= c.inside_hi ? 1 : 0;
    }
    const int64_t more = (high != nullptr ? high[i] : 0) + plan.zero_point;
    const int64_t whole = wide_code(acc[i], c, plan, wrap16);
    const auto code = static_cast<int64_t>(static_cast<uint64_t>(whole) + static_cast<uint64_t>(more));
    codes[i] =
        static_cast<int32_t>(wrap_u8 ? (code < 255 ? code : 255) & 255 : clamped_s64(code, plan.lo, plan.hi));
  }
  return fits;
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
  return wide_loop<false>(plan, 0, acc, high, count, codes, inside);
}

BITTWIN_TARGET static bool requantize_channels_run(const RequantPlan& plan, int64_t channel0, const int32_t* acc,
                                                   const int32_t* high, int64_t count, int32_t* codes,
                                                   uint8_t* inside) {
  return wide_loop<true>(plan, channel0, acc, high, count, codes, inside);
}

BITTWIN_TARGET static void split_run(const RequantPlan& plan, const SplitRule& split, const int32_t* low,
                                     const int32_t* high, const int32_t* digital, int64_t count, int32_t* codes,
                                     uint8_t* inside, uint8_t* low_inside) {
  const Requantizer& rule = *plan.rule;
  const ChannelPlan& c = plan.channels[0];
  const bool wrap16 = plan.middle == Middle::wrap16;
  const bool f32 = rule.is_f32();
  const ShiftPlan high_shift = shift_plan(split.log2_gain, split.high_rounding);
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
      sum = clamped_s64(wide_code(low[i], c, plan, wrap16), low_lo, low_hi) + rounded_s64(total, high_shift);
    }
    if (low_inside != nullptr) {  // before codes[i], which may lie where low[i] does
      if (!split.limit_low) {
        low_inside[i] = 1;
      } else if (f32) {
        const float v = half_even_f32_scaled(low[i], rule.scale_product, rule.codes_per_unit);
        low_inside[i] = v >= static_cast<float>(low_lo) && v <= static_cast<float>(low_hi) ? 1 : 0;
      } else {
        const int64_t v = scaled_s64(low[i], c);
        low_inside[i] = v >= inside_lo && v <= inside_hi ? 1 : 0;
      }
    }
    const int64_t code = clamped_s64(sum, plan.lo, plan.hi);
    codes[i] = static_cast<int32_t>(code);
    if (inside != nullptr) inside[i] = code == sum ? 1 : 0;
  }
}

}  // namespace bittwin
