// SPDX-License-Identifier: Apache-2.0
// Loops over codes in memory: quantise, store, depthwise products. See requantize_loops.h for how this file is
// used.
#pragma once

#include <cstdint>

#include "kernels/simd/requantize_loops.h"

namespace bittwin {

// Codes are within Y's range already. 16 at a time by the instruction set's narrow16 (narrow_*.h): compilers make
// single-byte inserts of the plain loop.
template <typename Y>
BITTWIN_TARGET static void store_codes(const StoreBlock& b) {
  for (int64_t i = 0; i < b.rows; ++i) {
    const int32_t* from = b.codes + i * b.stride;
    Y* to = static_cast<Y*>(b.out) + i * b.out_stride;
    int64_t j = 0;
    for (; j + 16 <= b.columns; j += 16) narrow16(from + j, to + j);
    for (; j < b.columns; ++j) to[j] = static_cast<Y>(from[j]);
  }
}

BITTWIN_TARGET static void store_accumulators(const StoreBlock& b) {
  for (int64_t i = 0; i < b.rows; ++i) {
    const int32_t* from = b.codes + i * b.stride;
    int32_t* to = static_cast<int32_t*>(b.out) + i * b.out_stride;
    for (int64_t j = 0; j < b.columns; ++j) to[j] = from[j];
  }
}

BITTWIN_TARGET static void store_values(const StoreBlock& b) {
  for (int64_t i = 0; i < b.rows; ++i) {
    const int32_t* from = b.codes + i * b.stride;
    float* to = static_cast<float*>(b.out) + i * b.out_stride;
    for (int64_t j = 0; j < b.columns; ++j) to[j] = static_cast<float>(from[j]) / b.codes_per_unit;
  }
}

BITTWIN_TARGET static void store_run(const StoreBlock& b) {
  switch (b.type) {
    case OutputType::s8: return store_codes<int8_t>(b);
    case OutputType::u8: return store_codes<uint8_t>(b);
    case OutputType::s16: return store_codes<int16_t>(b);
    case OutputType::u16: return store_codes<uint16_t>(b);
    case OutputType::s32: return store_accumulators(b);
    case OutputType::f32: return store_values(b);
  }
}

// The input range of every code type lies within +-2^16, so the addition trick of f32_loop is exact here too.
template <typename Code>
BITTWIN_TARGET static QuantizeOutcome quantize_codes(const QuantizeRun& q) {
  Code* codes = static_cast<Code*>(q.codes);
  const float lo = static_cast<float>(q.lo);
  const float hi = static_cast<float>(q.hi);
  const float magic = 12582912.0F;  // 1.5 * 2^23
  uint32_t nan = 0;
  uint32_t outside = 0;
  for (int64_t i = 0; i < q.count; ++i) {
    const float v = q.x[i];
    const float product = v * q.codes_per_unit;
    const float scaled = product + q.shift;
    const float limited = scaled < lo ? lo : scaled > hi ? hi : scaled;
    const float whole = limited + magic;
    codes[i] = static_cast<Code>(static_cast<int32_t>(whole - magic));
    nan |= v != v ? 1U : 0U;
    outside |= scaled < lo || scaled > hi ? 1U : 0U;
  }
  return {nan != 0, outside == 0};
}

BITTWIN_TARGET static void quantize_inside(const QuantizeRun& q) {
  const float lo = static_cast<float>(q.lo);
  const float hi = static_cast<float>(q.hi);
  for (int64_t i = 0; i < q.count; ++i) {
    const float product = q.x[i] * q.codes_per_unit;
    const float scaled = product + q.shift;
    q.inside[i] = static_cast<uint8_t>((scaled >= lo) & (scaled <= hi));
  }
}

BITTWIN_TARGET static QuantizeOutcome quantize_run(const QuantizeRun& q) {
  const QuantizeOutcome outcome = q.wide ? quantize_codes<int16_t>(q) : quantize_codes<uint8_t>(q);
  if (q.inside != nullptr) quantize_inside(q);
  return outcome;
}

// The plain loop, for what an instruction set has no better one for. Channels go in blocks, so that a block's sums
// stay in registers or L1 while the taps go by. One-byte codes times int8 weights fit int16 (255 * -128 > -2^15):
// half the width, twice the speed.
template <typename X, typename Product>
BITTWIN_TARGET static void depthwise_rows(const DepthwiseBlock& b) {
  for (int64_t p = 0; p < b.rows; ++p) {
    int32_t* acc = b.acc + p * b.channels;
    for (int64_t c = 0; c < b.channels; ++c) acc[c] = b.start[c];
    for (int64_t t = 0; t < b.taps; ++t) {
      const X* x = reinterpret_cast<const X*>(b.row[p] + b.tap[t]);
      const int16_t* w = b.weight + t * b.channels;
      for (int64_t c = 0; c < b.channels; ++c) {
        const auto product = static_cast<Product>(static_cast<Product>(x[c]) * static_cast<Product>(w[c]));
        acc[c] = static_cast<int32_t>(static_cast<uint32_t>(acc[c]) + static_cast<uint32_t>(int32_t{product}));
      }
    }
  }
}

BITTWIN_TARGET static void depthwise_run(const DepthwiseBlock& b) {
  switch (b.type) {
    case InputType::u8: return b.narrow ? depthwise_rows<uint8_t, int16_t>(b) : depthwise_rows<uint8_t, int32_t>(b);
    case InputType::s8: return b.narrow ? depthwise_rows<int8_t, int16_t>(b) : depthwise_rows<int8_t, int32_t>(b);
    case InputType::u16: return depthwise_rows<uint16_t, int32_t>(b);
    case InputType::s16: return depthwise_rows<int16_t, int32_t>(b);
  }
}

}  // namespace bittwin
