// SPDX-License-Identifier: Apache-2.0
// The contract headers and reference kernels as a C library, for the mutation tests (test_mutants.py).
// The static_asserts of the headers are switched off here: they would refuse most mutants at compile time,
// and the question is whether the *tests* notice them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>
#define static_assert(...)

#include "bittwin/activation.h"
#include "bittwin/array_input.h"
#include "bittwin/bias.h"
#include "bittwin/half_even_f32.h"
#include "bittwin/quantize.h"
#include "bittwin/requantize.h"
#include "bittwin/rounding.h"
#include "bittwin/saturate.h"
#include "bittwin/split.h"
#include "kernels/bound.h"
#include "kernels/conv_ref.h"
#include "kernels/linear_ref.h"
#include "kernels/requantizer.h"

using namespace bittwin;

namespace {

// acc [outer, channels], one TwoStage per channel or one for all.
int64_t run(const int32_t* acc, const int32_t* high, int64_t* out, int64_t outer, int64_t channels,
            const Requantizer& rule) {
  return requantize_ref(acc, high, out, CodeLayout{outer, channels, 1}, rule).index;
}

int64_t run_limited(const int32_t* acc, const int32_t* high, int64_t* out, int64_t count, TwoStage p, int64_t lo,
                    int64_t hi) {
  p.lo = lo;
  p.hi = hi;
  Requantizer rule;
  rule.stages = {p};
  return run(acc, high, out, count, 1, rule);
}

}  // namespace

extern "C" {

void shim_round_shift(const int64_t* v, int64_t count, int shift, int mode, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = rounding_shift_right(v[i], shift, static_cast<Rounding>(mode));
}

void shim_round_real(const double* v, int64_t count, int mode, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = round_real(v[i], static_cast<Rounding>(mode));
}

void shim_wrap(const int64_t* v, int64_t count, int bits, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = bits == 16 ? wrapping_s16(v[i]) : wrapping_s32(v[i]);
}

// settings: middle, rounding1, rounding2, zero_point, lo, hi, store; per channel: lsh, multiplier, shift1, shift2.
// Returns the index of an accumulator that lsh would push out of int32, or -1.
int64_t shim_two_stage(const int32_t* acc, const int32_t* high, int64_t* out, int64_t outer, int64_t channels,
                       const int64_t* settings, const int64_t* per_channel, int64_t sets) {
  Requantizer rule;
  for (int64_t c = 0; c < sets; ++c) {
    TwoStage p;
    p.middle = static_cast<Middle>(settings[0]);
    p.middle_lo = INT32_MIN;
    p.middle_hi = INT32_MAX;
    p.rounding1 = static_cast<Rounding>(settings[1]);
    p.rounding2 = static_cast<Rounding>(settings[2]);
    p.zero_point = settings[3];
    p.lo = settings[4];
    p.hi = settings[5];
    p.store = static_cast<Store>(settings[6]);
    p.lsh = static_cast<int>(per_channel[4 * c]);
    p.multiplier = static_cast<int32_t>(per_channel[4 * c + 1]);
    p.shift1 = static_cast<int>(per_channel[4 * c + 2]);
    p.shift2 = static_cast<int>(per_channel[4 * c + 3]);
    rule.stages.push_back(p);
  }
  return run(acc, high, out, outer, channels, rule);
}

void shim_readout(const int32_t* acc, const int32_t* high, int64_t* out, int64_t count, int log2_gain, int wrap16,
                  int64_t lo, int64_t hi) {
  run_limited(acc, high, out, count, readout_params(log2_gain, wrap16 != 0), lo, hi);
}

void shim_half_even(const int32_t* acc, const int32_t* high, int64_t* out, int64_t count, int log2_gain, int64_t lo,
                    int64_t hi) {
  run_limited(acc, high, out, count, half_even_params(log2_gain), lo, hi);
}

void shim_half_even_f32(const int32_t* acc, const int32_t* high, int64_t* out, int64_t count, float scale_product,
                        float codes_per_unit, int64_t lo, int64_t hi) {
  Requantizer rule;
  TwoStage limits;
  limits.lo = lo;
  limits.hi = hi;
  rule.stages = {limits};
  rule.scale_product = scale_product;
  rule.codes_per_unit = codes_per_unit;
  run(acc, high, out, count, 1, rule);
}

// settings: readout, log2 of the gain, limit_low, low_lo, low_hi, high_rounding, lo, hi; scales, above 0 for the
// float32 rule: scale_product, codes_per_unit, whole gain.
void shim_split_requantize(const int32_t* acc_low, const int32_t* acc_high, const int32_t* bias_digital,
                           int64_t* out, int64_t outer, int64_t channels, const int64_t* settings,
                           const float* scales) {
  Requantizer rule;
  const int log2_gain = static_cast<int>(settings[1]);
  rule.stages = {settings[0] != 0 ? readout_params(log2_gain) : half_even_params(log2_gain)};
  rule.stages[0].lo = settings[6];
  rule.stages[0].hi = settings[7];
  rule.scale_product = scales[0];
  rule.codes_per_unit = scales[1];
  SplitRule split;
  split.limit_low = settings[2] != 0;
  split.low_lo = settings[3];
  split.low_hi = settings[4];
  split.log2_gain = log2_gain;
  split.whole_gain = scales[2];
  split.high_rounding = static_cast<Rounding>(settings[5]);
  split_requantize_ref(acc_low, acc_high, bias_digital, out, CodeLayout{outer, channels, 1}, rule, split);
}

void shim_split(const int32_t* x, int64_t count, int32_t* low, int32_t* high) {
  for (int64_t i = 0; i < count; ++i) {
    low[i] = split_low(x[i]);
    high[i] = split_high(x[i]);
  }
}

void shim_bias_units(const int64_t* bias, int64_t count, int rows, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = quantize_bias_units(bias[i], rows);
}

void shim_bias_real(const float* bias, int64_t count, int rows, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = quantize_bias_real(bias[i], rows);
}

void shim_dac(const uint8_t* byte, int64_t count, int is_signed, int invert, int doubled, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = dac(byte[i], is_signed != 0, invert != 0, doubled != 0);
}

void shim_relu(const int32_t* y, int64_t count, int gain, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = relu(y[i], gain);
}

void shim_clip(const int32_t* y, int64_t count, int limit, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = clip_activation(y[i], limit);
}

void shim_quantize_value(const float* v, int64_t count, const float* scale_and_shift, const int32_t* limits,
                         int32_t* codes, int32_t* inside) {
  const InputRule<float> rule{scale_and_shift[0], scale_and_shift[1], limits[0], limits[1]};
  for (int64_t i = 0; i < count; ++i) {
    const InputCode found = quantize_value(v[i], rule);
    codes[i] = found.code;
    inside[i] = found.inside ? 1 : 0;
  }
}

void shim_inside_limits(const int32_t* acc, int64_t count, int log2_gain, int is_readout, int bits, int64_t* out) {
  TwoStage p = is_readout != 0 ? readout_params(log2_gain) : half_even_params(log2_gain);
  p.lo = -(int64_t{1} << (bits - 1));
  p.hi = (int64_t{1} << (bits - 1)) - 1;
  for (int64_t i = 0; i < count; ++i) out[i] = inside_limits(acc[i], p) ? 1 : 0;
}

void shim_table_index(const int32_t* y, int64_t count, int size, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = table_index(y[i], size);
}

void shim_post_adder(const int32_t* byte, int64_t count, int right, int num, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = post_adder_shift(byte[i], right != 0, num);
}

void shim_linear_u8s8(const uint8_t* x, const int8_t* w, const int32_t* bias, int32_t* acc, int64_t m, int64_t k,
                      int64_t n) {
  linear_ref<uint8_t, int8_t>(x, w, bias, acc, LinearShape{m, k, n});
}

void shim_linear_s16s16(const int16_t* x, const int16_t* w, const int32_t* bias, int32_t* acc, int64_t m, int64_t k,
                        int64_t n) {
  linear_ref<int16_t, int16_t>(x, w, bias, acc, LinearShape{m, k, n});
}

// Deliberately wrong: products are added in pairs that saturate to int16, as the x86 instruction maddubs does.
// The tests must reject it; it is what a careless vector kernel would be.
void shim_linear_u8s8_saturating_pairs(const uint8_t* x, const int8_t* w, const int32_t* bias, int32_t* acc,
                                       int64_t m, int64_t k, int64_t n) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      int32_t sum = bias != nullptr ? bias[j] : 0;
      for (int64_t p = 0; p < k; p += 2) {
        int32_t pair = x[i * k + p] * w[j * k + p];
        if (p + 1 < k) pair += x[i * k + p + 1] * w[j * k + p + 1];
        sum += std::min(std::max(pair, -32768), 32767);
      }
      acc[i * n + j] = sum;
    }
  }
}

// shape: the 16 numbers of ConvShape in order.
void shim_conv2d(const uint8_t* x, const int8_t* w, const int32_t* bias, int32_t* acc, const int64_t* s) {
  const ConvShape shape{s[0], s[1], s[2],  s[3],  s[4],  s[5],  s[6],  s[7],
                        s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15]};
  conv2d_ref<uint8_t, int8_t>(x, w, bias, acc, shape);
}

void shim_conv_transpose2d(const uint8_t* x, const int8_t* w, const int32_t* bias, int32_t* acc, const int64_t* s) {
  const ConvShape shape{s[0], s[1], s[2],  s[3],  s[4],  s[5],  s[6],  s[7],
                        s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15]};
  conv_transpose2d_ref<uint8_t, int8_t>(x, w, bias, acc, shape);
}

void shim_bound(const int8_t* w, const int32_t* bias, int64_t n, int64_t k, int64_t x_lo, int64_t x_hi,
                int64_t* out) {
  const AccumulatorBound bound = accumulator_bound_ref(w, bias, n, k, x_lo, x_hi);
  out[0] = bound.low;
  out[1] = bound.high;
}

}  // extern "C"
