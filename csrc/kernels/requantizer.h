// SPDX-License-Identifier: Apache-2.0
// A requantiser as data: one of the two rules of the contract headers, per tensor or per channel, applied
// to a block of accumulators. The loop is ours, the arithmetic is the header's.
#pragma once

#include <cstdint>
#include <vector>

#include "bittwin/half_even_f32.h"
#include "bittwin/requantize.h"

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

// The code before saturation, for the low round of a split (see split.h).
template <typename Y>
void unsaturated_ref(const int32_t* acc, Y* out, int64_t count, const Requantizer& rule) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = rule.is_f32() ? half_even_f32_code(acc[i], rule.scale_product, rule.codes_per_unit)
                           : unsaturated_code(acc[i], rule.stages[0]);
  }
}

}  // namespace bittwin
