// SPDX-License-Identifier: Apache-2.0
// A requantiser as data: one of the two rules of the contract headers, per tensor or per channel, applied
// to a block of accumulators. The loop is ours, the arithmetic is the header's.
#pragma once

#include <cstdint>
#include <vector>

#include "bittwin/half_even_f32.h"
#include "bittwin/requantize.h"
#include "bittwin/split.h"

namespace bittwin {

struct Requantizer {
  // Integer rule: one entry (per tensor) or one per channel.
  std::vector<TwoStage> stages;
  // half_even_f32 when scale_product > 0; then `stages` has one entry that carries lo and hi only.
  float scale_product = 0.0F;
  float codes_per_unit = 0.0F;

  bool is_f32() const { return scale_product > 0.0F; }
  int64_t channels() const { return static_cast<int64_t>(stages.size()); }
};

// Where a block of accumulators [outer, channels, inner] takes its channel from.
struct CodeLayout {
  int64_t outer, channels, inner;
};

// An accumulator that acc << lsh would push out of int32 (index -1: none).
struct LshOverflow {
  int64_t index = -1;
  int32_t acc = 0;
  int lsh = 0;
};

template <typename Y>
LshOverflow requantize_ref(const int32_t* acc, const int32_t* high, Y* out, CodeLayout layout,
                           const Requantizer& rule) {
  const bool per_tensor = rule.channels() == 1;
  int64_t i = 0;
  for (int64_t o = 0; o < layout.outer; ++o) {
    for (int64_t c = 0; c < layout.channels; ++c) {
      const TwoStage p = rule.stages[per_tensor ? 0 : static_cast<size_t>(c)];
      for (int64_t end = i + layout.inner; i < end; ++i) {
        const int64_t h = high != nullptr ? high[i] : 0;
        if (rule.is_f32()) {
          out[i] = static_cast<Y>(
              requantize_half_even_f32(acc[i], rule.scale_product, rule.codes_per_unit, p.lo, p.hi, h));
          continue;
        }
        if (p.lsh > 0 && !fits_after_lsh(acc[i], p.lsh)) return {i, acc[i], p.lsh};
        out[i] = static_cast<Y>(requantize(acc[i], p, h));
      }
    }
  }
  return {};
}

// How the two rounds of a split layer become one code (see split.h).
struct SplitRule {
  bool limit_low = false;  // the low code saturates to [low_lo, low_hi] before the sum
  int64_t low_lo = 0;
  int64_t low_hi = 0;
  int log2_gain = 0;        // of the digital part, integer rules
  float whole_gain = 0.0F;  // of the digital part, half_even_f32 rule
  Rounding high_rounding = Rounding::half_even;
};

// The low code of one accumulator, before the sum.
inline int64_t low_code(int32_t acc, const Requantizer& rule, const SplitRule& split) {
  const int64_t code = rule.is_f32() ? half_even_f32_code(acc, rule.scale_product, rule.codes_per_unit)
                                     : unsaturated_code(acc, rule.stages[0]);
  return split.limit_low ? saturate(code, split.low_lo, split.low_hi) : code;
}

inline int64_t high_code(int32_t acc_high, int32_t bias_digital, const Requantizer& rule, const SplitRule& split) {
  return rule.is_f32() ? digital_part_f32(acc_high, bias_digital, split.whole_gain)
                       : digital_part(acc_high, bias_digital, split.log2_gain, split.high_rounding);
}

// bias_digital has one entry per channel, or is null. The rule is per tensor.
template <typename Y>
void split_requantize_ref(const int32_t* acc_low, const int32_t* acc_high, const int32_t* bias_digital, Y* out,
                          CodeLayout layout, const Requantizer& rule, const SplitRule& split) {
  const TwoStage& limits = rule.stages[0];
  int64_t i = 0;
  for (int64_t o = 0; o < layout.outer; ++o) {
    for (int64_t c = 0; c < layout.channels; ++c) {
      const int32_t digital = bias_digital != nullptr ? bias_digital[c] : 0;
      for (int64_t end = i + layout.inner; i < end; ++i) {
        const int64_t sum = low_code(acc_low[i], rule, split) + high_code(acc_high[i], digital, rule, split);
        out[i] = static_cast<Y>(saturate(sum, limits.lo, limits.hi));
      }
    }
  }
}

}  // namespace bittwin
