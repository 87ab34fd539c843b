// SPDX-License-Identifier: Apache-2.0
// Real values to codes and bits in one pass, where an instruction set has it.
//
// Exact: a vector's product, sum, comparisons and conversion are the float32 operations of bittwin/quantize.h one
// by one (no fused multiply-add), and the conversion names its rounding, half even, instead of taking the thread's.
#pragma once

#include <cstdint>

#include "kernels/qat.h"

namespace bittwin {

// Elements [first, last) of q, first a multiple of 8. False: nothing done, there is no such loop for `loops`.
bool quantize_bits(const Loops* loops, const QuantizeArray& q, int64_t first, int64_t last,
                   QuantizeOutcome& outcome);

// Bytes of 0 and 1 to bits, as many as there are loops for. Returns how many are done, a multiple of 8.
int64_t pack_some_bits(const Loops* loops, const uint8_t* flags, int64_t count, uint8_t* bits);

}  // namespace bittwin
