// SPDX-License-Identifier: Apache-2.0
// Real values to codes and bits in one pass, where an instruction set has it.
//
// Exact: a vector's product, sum, comparisons and conversion are the float32 operations of bittwin/quantize.h one
// by one (no fused multiply-add), and the conversion names its rounding, half even, instead of taking the thread's.
#pragma once

#include <cstdint>

#include "kernels/qat.h"

namespace bittwin {

// Members quantize_bits and pack_bits of Loops.
void quantize_bits_avx2(const QuantizeArray& q, int64_t first, int64_t last, QuantizeOutcome& outcome);
void quantize_bits_avx512(const QuantizeArray& q, int64_t first, int64_t last, QuantizeOutcome& outcome);
int64_t pack_bits_avx2(const uint8_t* flags, int64_t count, uint8_t* bits);
int64_t pack_bits_avx512(const uint8_t* flags, int64_t count, uint8_t* bits);

}  // namespace bittwin
