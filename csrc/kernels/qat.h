// SPDX-License-Identifier: Apache-2.0
// The two ends of a training layer's forward pass: real values to codes, accumulators to real values.
//
//   quantize:  codes = quantize_value(x), and whether each x lay in the input range   (bittwin/quantize.h)
//   finish:    y = requantise(acc) / codes_per_unit, and whether each output lay inside
// Between them stands the layer's own product (problem.h); a training forward does all three in one call.
// What lay inside is kept as bits, least significant first, in memory order, for the gradients.
// There is no arithmetic here that the contract headers do not have: training computes what the chip does.
#pragma once

#include <cstdint>

#include "bittwin/quantize.h"
#include "kernels/problem.h"

namespace bittwin {

struct QuantizeArray {
  const float* x;
  int64_t count;
  InputRule<float> rule;
  void* codes;  // uint8, or int16 where `wide`
  bool wide;
  uint8_t* bits;  // (count + 7) / 8 bytes, or null
};

// loops == nullptr: the contract header, element by element.
QuantizeOutcome quantize_array(const Loops* loops, const QuantizeArray& q);

// Packs bytes of 0 and 1.
void pack_bits(const Loops* loops, const uint8_t* flags, int64_t count, uint8_t* bits);

// Accumulators [outer, channels, inner] to finish.out of the same layout; finish.high must be null.
Outcome finish_array(const Loops* loops, const int32_t* acc, const int32_t* acc_high, const CodeLayout& layout,
                     const Finish& finish);

}  // namespace bittwin
