// SPDX-License-Identifier: Apache-2.0
// What a backward pass needs of codes and masks before and after its two float products, one pass over memory each.
//
//   code_values:  (code - shift) / codes_per_unit, each operation one float32 rounding
//   keep_where:   a number where its bit is set, +0.0 elsewhere (also of a NaN: a stopped gradient stops)
// Results are float32, or the bfloat16 nearest to that, ties to even. Every instruction set gives the same bits.
#pragma once

#include <cstdint>

#include "kernels/loops.h"

namespace bittwin {

enum class CodeType : int { u8, s8, s16 };

struct CodeValues {
  const void* codes;
  CodeType type;
  int64_t count;
  float shift, codes_per_unit;
  void* out;      // float, or uint16 (bfloat16's bits)
  bool bfloat16;  // of out
};

struct KeepWhere {
  const float* from;
  const uint8_t* bits;  // least significant first; null: keep all
  int64_t count;
  void* to;  // may be `from` unless bfloat16
  bool bfloat16;
};

// Gradients of a linear layer whose inputs are uint8 codes and weights int8 codes, all in one call, for products so
// small that calls of their own would cost more. Every sum is float32, one rounding per operation, in rising order
// of its index, so that every instruction set gives the same bits:
//   gx = (gy kept where y_bits) @ weight values, kept where x_bits
//   gw = (gy kept where y_bits).T @ x values, kept where w_bits      gb = sum over rows of gy kept where y_bits
struct LinearGradients {
  int64_t rows, inputs, outputs;
  const float* gy;
  const uint8_t* x;
  const int8_t* w;
  float shift, x_codes_per_unit, w_codes_per_unit;
  const uint8_t *x_bits, *y_bits, *w_bits;  // null: keep all
  float *gx, *gw, *gb;                      // null: not wanted
};

// loops == nullptr: without an instruction set's own loops.
void code_values(const Loops* loops, const CodeValues& v);
void keep_where(const Loops* loops, const KeepWhere& k);
void linear_gradients(const Loops* loops, const LinearGradients& g);

}  // namespace bittwin
