// SPDX-License-Identifier: Apache-2.0
// One operator on one batch, with everything that becomes of its accumulators: what bindings ask kernels for.
//
// Contract of run(set, problem, finish): out = finish(accumulators of problem), equal for every kernel set.
//   x     linear: [rows, k]; convolutions: [N, C, H, W], or [N, H, W, C] with channels_last; dense
//   w     linear: [n, k]; conv2d: [O, C / groups, kh, kw]; conv_transpose2d: [C, O, kh, kw]; dense
//   out   like x, dense, the same layout; `high` and the flags too
// A position outside the input counts as pad_code (0 unless a shifted layer pads with its shift).
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/loops.h"
#include "kernels/requant_plan.h"

namespace bittwin {

class PanelCache;

enum class Op : int { linear, conv2d, conv_transpose2d };

struct Problem {
  Op op = Op::linear;
  ConvShape shape{};  // linear: see linear_shape
  InputType x_type = InputType::u8;
  const void* x = nullptr;
  bool channels_last = false;
  int32_t pad_code = 0;
  WeightType w_type = WeightType::s8;
  const void* w = nullptr;
  PanelCache* cache = nullptr;  // of a packed weight; null: weights are arranged anew
  const int32_t* bias = nullptr;
};

// A linear layer is a 1 x 1 convolution over rows that lie side by side.
inline ConvShape linear_shape(int64_t rows, int64_t k, int64_t n) {
  return {1, k, 1, rows, n, 1, rows, 1, 1, 1, 1, 0, 0, 1, 1, 1};
}

// plan == nullptr: out takes the int32 accumulators.
// split == nullptr: one round. Otherwise x holds whole codes of up to 16 bits, whose low 8 bits and bits above
// make one round each (bittwin/split.h); bias belongs to the low round, bias_digital to the high one. The rule is
// then per tensor, has no lsh and saturates.
struct Finish {
  const RequantPlan* plan = nullptr;
  const int32_t* high = nullptr;
  const SplitRule* split = nullptr;
  const int32_t* bias_digital = nullptr;
  OutputType type = OutputType::s32;
  void* out = nullptr;
  float codes_per_unit = 1.0F;
  uint8_t* inside = nullptr;      // one byte per output, or null
  uint8_t* low_inside = nullptr;  // likewise, of the low round of a split layer
};

struct Outcome {
  LshOverflow bad;  // the first accumulator that acc << lsh pushes out of int32
  bool all_inside = true;
  bool all_low_inside = true;
};

Outcome run(const KernelSet& set, const Problem& problem, const Finish& finish);

// The normative form, and the one for a set that has loops.
Outcome run_ref(const Problem& problem, const Finish& finish);
// The normative finish alone: accumulators [outer, channels, inner] to out of the same layout.
Outcome finish_ref(const int32_t* acc, const int32_t* acc_high, const CodeLayout& layout, const Finish& finish);
Outcome run_fast(const Loops& loops, const Problem& problem, const Finish& finish);

}  // namespace bittwin
