// SPDX-License-Identifier: Apache-2.0
// The driver of the fast kernels as a C library, on loops in plain C++: any CPU can run it. For the mutation
// tests, and home of a kernel that saturates and must be rejected.
#include <cstdint>
#include <cstring>

#include "kernels/problem.h"
#include "kernels/qat.h"

namespace bittwin {
// What every instruction set brings along for the shared loops.
template <typename Y>
inline void narrow16(const int32_t* from, Y* to) {
  for (int i = 0; i < 16; ++i) to[i] = static_cast<Y>(from[i]);
}
}  // namespace bittwin

#define BITTWIN_TARGET
#include "kernels/simd/memory_loops.h"
#include "kernels/simd/stretch.h"

using namespace bittwin;

namespace {

// Code i of a unit as its format holds it.
int32_t code_of(const uint8_t* unit, int64_t plane, const Format& f, int planes, bool highest_signed, int i) {
  if (f.code_bytes == 2) {
    int16_t code;
    std::memcpy(&code, unit + 2 * i, 2);
    return code;
  }
  int32_t code = 0;
  for (int p = 0; p < planes; ++p) {
    const uint8_t byte = unit[p * plane + i];
    const bool is_signed = highest_signed && p == planes - 1;
    code += (is_signed ? static_cast<int8_t>(byte) : byte) * (1 << (8 * p));
  }
  return code;
}

// What vpmaddubsw does to a pair of u8 * s8 products.
int32_t saturated_pair(int32_t pair) {
  return pair > 32767 ? 32767 : pair < -32768 ? -32768 : pair;
}

template <int Lane, bool Saturating>
void plain_pass(const BlockProduct& b, const Stretch& s, const uint8_t* weight, bool first) {
  const Format& f = b.format;
  const int codes = 4 / f.code_bytes;
  const int64_t width = b.groups * Lane;
  for (int64_t r = 0; r < b.rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      auto sum = static_cast<uint32_t>(first ? b.start[c] : b.acc[r * width + c]);
      const uint8_t* w = weight + c / Lane * b.group_stride + c % Lane * 4;
      for (int64_t i = 0; i < s.segments; ++i) {
        const uint8_t* x = b.row[r] + s.segment[i] + 4 * s.first_unit;
        for (int64_t u = 0; u < s.units; ++u, w += 4 * Lane) {
          int32_t pair = 0;
          for (int k = 0; k < codes; ++k) {
            pair += code_of(x + 4 * u, b.x_plane, f, f.x_planes, f.x_signed, k) *
                    code_of(w, b.w_plane, f, f.w_planes, true, k);
            if (Saturating && k % 2 == 0) continue;
            sum += static_cast<uint32_t>(Saturating ? saturated_pair(pair) : pair);
            pair = 0;
          }
        }
      }
      b.acc[r * width + c] = static_cast<int32_t>(sum);
    }
  }
}

template <int Lane, bool Saturating>
void plain_product(const BlockProduct& b) {
  constexpr int64_t kChunk = 5;  // units: every longer sum takes several passes
  for_each_stretch(b, kChunk, Lane, plain_pass<Lane, Saturating>);
}

bool are_bytes(InputType x, WeightType w) {
  return w == WeightType::s8 && (x == InputType::u8 || x == InputType::s8);
}

Format words(InputType x, WeightType) {
  if (x == InputType::u16) return {2, 1, 1, 1, 0x8000, -32768, true};
  return {2, 1, 1, 1, 0, 0, true};
}

// One-byte codes made unsigned, like the dot-product instructions want them.
Format bytes(InputType x, WeightType w) {
  if (!are_bytes(x, w)) return words(x, w);
  if (x == InputType::s8) return {1, 1, 1, 1, 0x80, 128, false};
  return {1, 1, 1, 1, 0, 0, false};
}

// Wide codes in two planes, like tiles want them.
Format planes(InputType x, WeightType w) {
  const bool is_signed = x == InputType::s8 || x == InputType::s16;
  const int x_planes = x == InputType::u8 || x == InputType::s8 ? 1 : 2;
  return {1, 4, x_planes, w == WeightType::s8 ? 1 : 2, 0, 0, is_signed};
}

Loops plain_loops(int lane, int groups, Format (*format)(InputType, WeightType),
                  void (*product)(const BlockProduct&)) {
  return {lane,      groups,    format,      product, depthwise_run, requantize_run, requantize_channels_run,
          split_run, store_run, quantize_run};
}

// 0: the reference.
const Loops* loops_of(int which) {
  static const Loops narrow = plain_loops(4, 3, bytes, plain_product<4, false>);
  static const Loops wide = plain_loops(8, 2, words, plain_product<8, false>);
  static const Loops split = plain_loops(4, 2, planes, plain_product<4, false>);
  static const Loops saturating = plain_loops(4, 3, bytes, plain_product<4, true>);
  const Loops* all[] = {nullptr, &narrow, &wide, &split, &saturating};
  return all[which];
}

Requantizer requantizer_of(const int64_t* n, const float* scales, int64_t channels) {
  Requantizer rule;
  rule.scale_product = scales[0];
  rule.codes_per_unit = scales[1];
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t* per = n + 7 + 4 * c;
    TwoStage p;
    p.rounding1 = static_cast<Rounding>(n[0]);
    p.middle = static_cast<Middle>(n[1]);
    p.middle_lo = INT32_MIN;
    p.middle_hi = INT32_MAX;
    p.rounding2 = static_cast<Rounding>(n[2]);
    p.zero_point = n[3];
    p.lo = n[4];
    p.hi = n[5];
    p.store = static_cast<Store>(n[6]);
    p.lsh = static_cast<int>(per[0]);
    p.multiplier = static_cast<int32_t>(per[1]);
    p.shift1 = static_cast<int>(per[2]);
    p.shift2 = static_cast<int>(per[3]);
    rule.stages.push_back(p);
  }
  return rule;
}

}  // namespace

extern "C" {

// call: op, the 16 numbers of ConvShape, x_type, channels_last, pad_code, w_type, output type, channels of the rule
// (0: none), split?, limit_low, low_lo, low_hi, log2_gain, high_rounding. rule: rounding1, middle, rounding2,
// zero_point, lo, hi, store, then lsh, multiplier, shift1, shift2 of each channel. scales: scale_product,
// codes_per_unit, whole_gain. Returns the index of a refused accumulator, or -1.
int64_t shim_run(int which, const int64_t* call, const void* x, const void* w, const int32_t* bias,
                 const int32_t* high, const int32_t* bias_digital, const int64_t* rule_numbers, const float* scales,
                 void* out) {
  Problem p{};
  p.op = static_cast<Op>(call[0]);
  static_assert(sizeof(ConvShape) == 16 * sizeof(int64_t), "sixteen numbers");
  std::memcpy(&p.shape, call + 1, sizeof p.shape);
  const int64_t* rest = call + 17;
  p.x_type = static_cast<InputType>(rest[0]);
  p.x = x;
  p.channels_last = rest[1] != 0;
  p.pad_code = static_cast<int32_t>(rest[2]);
  p.w_type = static_cast<WeightType>(rest[3]);
  p.w = w;
  p.bias = bias;
  Finish f{};
  f.type = static_cast<OutputType>(rest[4]);
  f.out = out;
  const Requantizer rule = requantizer_of(rule_numbers, scales, rest[5]);
  RequantPlan plan;
  SplitRule split;
  if (rest[5] > 0) {
    plan = requant_plan(rule);
    f.plan = &plan;
    f.high = high;
    f.bias_digital = bias_digital;
  }
  if (rest[6] != 0) {
    split = {
        rest[7] != 0, rest[8], rest[9], static_cast<int>(rest[10]), scales[2], static_cast<Rounding>(rest[11])};
    f.split = &split;
  }
  const Loops* loops = loops_of(which);
  return (loops != nullptr ? run_fast(*loops, p, f) : run_ref(p, f)).bad.index;
}

// Returns whether a NaN was found (1) and whether all lay inside (2).
int shim_quantize(int which, const float* x, int64_t count, const float* rule, const int32_t* limits, int wide,
                  void* codes, uint8_t* bits) {
  const InputRule<float> input{rule[0], rule[1], limits[0], limits[1]};
  const QuantizeOutcome found = quantize_array(loops_of(which), {x, count, input, codes, wide != 0, bits});
  return (found.nan ? 1 : 0) + (found.all_inside ? 2 : 0);
}

}  // extern "C"
