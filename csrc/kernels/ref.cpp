// SPDX-License-Identifier: Apache-2.0
// The `ref` entry of the kernel table: the normative kernels on whole arrays, one image at a time, then the
// contract's requantiser on every accumulator. Shortest correct form; runs on any CPU.
#include <algorithm>
#include <vector>

#include "bittwin/split.h"
#include "kernels/conv_ref.h"
#include "kernels/linear_ref.h"
#include "kernels/plain_floats.h"
#include "kernels/problem.h"

namespace bittwin {
namespace {

// The codes of one image as the kernels take them: channels first, int32 wide enough for every type and part.
using Codes = std::vector<int32_t>;

int32_t code_at(const Problem& p, int64_t i) {
  switch (p.x_type) {
    case InputType::u8: return static_cast<const uint8_t*>(p.x)[i];
    case InputType::s8: return static_cast<const int8_t*>(p.x)[i];
    case InputType::u16: return static_cast<const uint16_t*>(p.x)[i];
    case InputType::s16: return static_cast<const int16_t*>(p.x)[i];
  }
  return 0;
}

// One image; with pad_code, framed by it on all sides (conv_shape then has no padding of its own).
Codes image_codes(const Problem& p, int64_t image, const ConvShape& framed) {
  const ConvShape& s = p.shape;
  const int64_t top = p.pad_code != 0 ? s.pad_top : 0;
  const int64_t left = p.pad_code != 0 ? s.pad_left : 0;
  Codes codes(static_cast<size_t>(s.in_channels * framed.in_h * framed.in_w), p.pad_code);
  for (int64_t c = 0; c < s.in_channels; ++c) {
    for (int64_t y = 0; y < s.in_h; ++y) {
      for (int64_t x = 0; x < s.in_w; ++x) {
        const int64_t from = p.channels_last ? ((image * s.in_h + y) * s.in_w + x) * s.in_channels + c
                                             : ((image * s.in_channels + c) * s.in_h + y) * s.in_w + x;
        if (y + top >= framed.in_h || x + left >= framed.in_w) continue;  // no output reads it
        codes[static_cast<size_t>((c * framed.in_h + y + top) * framed.in_w + x + left)] = code_at(p, from);
      }
    }
  }
  return codes;
}

template <typename W>
void conv_ref(Op op, const Codes& codes, const void* w, const int32_t* bias, int32_t* acc, const ConvShape& s) {
  if (op == Op::conv2d) return conv2d_ref<int32_t, W>(codes.data(), w, bias, acc, s);
  conv_transpose2d_ref<int32_t, W>(codes.data(), w, bias, acc, s);
}

// Accumulators of one image, or of one row of a linear layer.
void accumulate(const Problem& p, const Codes& codes, const ConvShape& s, const int32_t* bias, int32_t* acc) {
  const bool narrow = p.w_type == WeightType::s8;
  if (p.op == Op::linear) {
    const LinearShape shape{1, s.in_channels, s.out_channels};
    return narrow ? linear_ref<int32_t, int8_t>(codes.data(), p.w, bias, acc, shape)
                  : linear_ref<int32_t, int16_t>(codes.data(), p.w, bias, acc, shape);
  }
  return narrow ? conv_ref<int8_t>(p.op, codes, p.w, bias, acc, s)
                : conv_ref<int16_t>(p.op, codes, p.w, bias, acc, s);
}

void store_one(const Finish& f, int64_t at, int64_t code) {
  switch (f.type) {
    case OutputType::s8: static_cast<int8_t*>(f.out)[at] = static_cast<int8_t>(code); break;
    case OutputType::u8: static_cast<uint8_t*>(f.out)[at] = static_cast<uint8_t>(code); break;
    case OutputType::s16: static_cast<int16_t*>(f.out)[at] = static_cast<int16_t>(code); break;
    case OutputType::u16: static_cast<uint16_t*>(f.out)[at] = static_cast<uint16_t>(code); break;
    case OutputType::s32: static_cast<int32_t*>(f.out)[at] = static_cast<int32_t>(code); break;
    case OutputType::f32:
      static_cast<float*>(f.out)[at] = static_cast<float>(static_cast<int32_t>(code)) / f.codes_per_unit;
      break;
  }
}

bool inside_of(int32_t acc, const Requantizer& rule, const TwoStage& limits) {
  if (!rule.is_f32()) return inside_limits(acc, limits);
  const float v = half_even_f32_scaled(acc, rule.scale_product, rule.codes_per_unit);
  return v >= static_cast<float>(limits.lo) && v <= static_cast<float>(limits.hi);
}

// One output: accumulator(s) of channel c to element `at`.
void finish_one(const Finish& f, int32_t acc, int32_t acc_high, int64_t c, int64_t at, Outcome& outcome) {
  if (f.plan == nullptr) return store_one(f, at, acc);
  const Requantizer& rule = *f.plan->rule;
  const TwoStage& p = rule.stages[rule.channels() == 1 ? 0 : static_cast<size_t>(c)];
  bool inside = true;
  if (f.split != nullptr) {
    const int32_t digital = f.bias_digital != nullptr ? f.bias_digital[c] : 0;
    const int64_t sum = low_code(acc, rule, *f.split) + high_code(acc_high, digital, rule, *f.split);
    const int64_t code = saturate(sum, p.lo, p.hi);
    store_one(f, at, code);
    inside = code == sum;
    if (f.low_inside != nullptr) {
      TwoStage low = p;
      low.lo = f.split->low_lo;
      low.hi = f.split->low_hi;
      const bool low_inside = !f.split->limit_low || inside_of(acc, rule, low);
      f.low_inside[at] = low_inside ? 1 : 0;
      outcome.all_low_inside = outcome.all_low_inside && low_inside;
    }
  } else {
    const int64_t high = f.high != nullptr ? f.high[at] : 0;
    if (!rule.is_f32() && !fits_after_lsh(acc, p.lsh)) {
      if (outcome.bad.index < 0 || at < outcome.bad.index) outcome.bad = {at, acc, p.lsh};
      return;
    }
    store_one(f, at,
              rule.is_f32()
                  ? requantize_half_even_f32(acc, rule.scale_product, rule.codes_per_unit, p.lo, p.hi, high)
                  : requantize(acc, p, high));
    inside = f.inside == nullptr || inside_of(acc, rule, p);
  }
  if (f.inside != nullptr) {
    f.inside[at] = inside ? 1 : 0;
    outcome.all_inside = outcome.all_inside && inside;
  }
}

}  // namespace

Outcome finish_ref(const int32_t* acc, const int32_t* acc_high, const CodeLayout& at, const Finish& f) {
  Outcome outcome;
  int64_t i = 0;
  for (int64_t o = 0; o < at.outer; ++o) {
    for (int64_t c = 0; c < at.channels; ++c) {
      for (const int64_t end = i + at.inner; i < end; ++i) {
        finish_one(f, acc[i], acc_high != nullptr ? acc_high[i] : 0, c, i, outcome);
      }
    }
  }
  return outcome;
}

Outcome run_ref(const Problem& p, const Finish& f) {
  const bool linear = p.op == Op::linear;
  ConvShape one = p.shape;
  int64_t images = p.shape.batch;
  Problem q = p;
  if (linear) {  // a row is an image of one pixel
    images = p.shape.in_w;
    one.in_w = one.out_w = q.shape.in_w = 1;
    q.channels_last = true;
  }
  one.batch = 1;
  if (p.pad_code != 0) {  // padding is a code of its own: written around the image, right and below as far as read
    one.in_h = (one.out_h - 1) * one.stride_h + (one.kernel_h - 1) * one.dilation_h + 1;
    one.in_w = (one.out_w - 1) * one.stride_w + (one.kernel_w - 1) * one.dilation_w + 1;
    one.pad_top = one.pad_left = 0;
  }
  const int64_t pixels = one.out_h * one.out_w;
  if (pixels == 0 || one.out_channels == 0) return {};
  std::vector<int32_t> acc(static_cast<size_t>(one.out_channels * pixels));
  std::vector<int32_t> acc_high(f.split != nullptr ? acc.size() : 0);
  Outcome outcome;
  for (int64_t n = 0; n < images; ++n) {
    Codes codes = image_codes(q, n, one);
    if (f.split != nullptr) {
      Codes high = codes;
      for (int32_t& code : high) code = split_high(code);
      for (int32_t& code : codes) code = split_low(code);
      accumulate(p, high, one, nullptr, acc_high.data());
    }
    accumulate(p, codes, one, p.bias, acc.data());
    for (int64_t c = 0; c < one.out_channels; ++c) {
      for (int64_t i = 0; i < pixels; ++i) {
        const int64_t from = c * pixels + i;
        const int64_t at =
            q.channels_last ? (n * pixels + i) * one.out_channels + c : n * one.out_channels * pixels + from;
        finish_one(f, acc[static_cast<size_t>(from)], f.split != nullptr ? acc_high[static_cast<size_t>(from)] : 0,
                   c, at, outcome);
      }
    }
  }
  return outcome;
}

Outcome run(const KernelSet& set, const Problem& problem, const Finish& finish) {
  const PlainFloats plain;
  const Loops* loops = set.loops();
  return loops != nullptr ? run_fast(*loops, problem, finish) : run_ref(problem, finish);
}

}  // namespace bittwin
