// SPDX-License-Identifier: Apache-2.0
// What one instruction set has to provide: the hot loops. Everything around them (geometry, memory layout,
// threads) is written once, in run_fast.cpp, and knows no instruction set.
//
// How a product is laid out. Every operator is a sum of short dot products: a *pixel* (a row of a linear
// layer, an output position of a convolution) reads `segments` runs of codes, each `units` units of 4 bytes
// long, and multiplies them with the weights of the columns:
//   acc[r][c] = start[c] + sum over segments s, units u, codes i:  a[row[r] + segment[s] + 4 u][i] * w[c][s, u][i]
// modulo 2^32, like the reference. A unit holds 4 one-byte or 2 two-byte codes. Weights lie in groups of
// `lane` columns, each group contiguous: [segment][unit][lane][4 bytes]. Codes past the end of a segment's
// run meet zero weights, so what they hold does not matter; but they are read.
// Worked example, lane 16, one segment of 6 one-byte codes: 2 units; weights of column 3: codes 0..3 at byte
// 12, codes 4, 5, 0, 0 at byte 64 + 12.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/requant_plan.h"

namespace bittwin {

// How an input code and a weight code are held in units.
struct Format {
  int code_bytes;   // bytes per code and plane: 1 or 2
  int align_units;  // a segment is padded to a multiple of this many units
  int x_planes;     // 1, or 2: low byte and high byte of a 16-bit code, in two images of the input
  int w_planes;     // likewise for weights
  uint32_t flip;    // XORed into every input code to make it unsigned or signed (0, 0x80, 0x8000)
  int32_t unflip;   // what that added to every code: acc is too large by unflip * sum(w)
  bool x_signed;    // of the highest plane: signed codes
};

struct BlockProduct {
  const uint8_t* const* row;  // one pointer per pixel
  int64_t rows;
  const int64_t* segment;  // byte offsets
  int64_t segments;
  int64_t units;          // per segment
  const uint8_t* weight;  // the first group
  int64_t group_stride;   // bytes from one group to the next
  int groups;             // 1..max_groups
  const int32_t* start;   // [groups * lane]
  int32_t* acc;           // [rows, groups * lane]
  Format format;
  int64_t x_plane;  // bytes from the low plane of the codes to the high plane
  int64_t w_plane;  // likewise for the weights
};

enum class OutputType : int { s8, u8, s16, u16, s32, f32 };

// A rectangle of int32 codes to memory: out[i * out_stride + j] = codes[i * stride + j], elements of `type`;
// f32 stores code / codes_per_unit.
struct StoreBlock {
  const int32_t* codes;
  int64_t rows, columns, stride;
  void* out;
  int64_t out_stride;
  OutputType type;
  float codes_per_unit;
};

// Real inputs to codes, with one byte `inside` (0 or 1) each; see bittwin/quantize.h.
struct QuantizeRun {
  const float* x;
  int64_t count;
  float codes_per_unit, shift;
  int32_t lo, hi;
  void* codes;  // uint8 or int16
  bool wide;    // int16
  uint8_t* inside;
};
struct QuantizeOutcome {
  bool nan = false;
  bool all_inside = true;
};

// One depthwise product: acc[p][c] = start[c] + sum_t x[row[p] + tap[t] + c] * w[t][c] over `channels`
// neighbours in memory. Codes are of the input type itself (no units, no flip); weights are int16.
struct DepthwiseBlock {
  const uint8_t* const* row;
  int64_t rows;
  const int64_t* tap;  // byte offsets
  int64_t taps;
  const int16_t* weight;  // [taps, channels]
  int64_t channels;
  const int32_t* start;
  int32_t* acc;  // [rows, channels]
  InputType type;
  bool narrow;  // weights fit int8
};

struct QuantizeArray;  // qat.h

struct Loops {
  int lane;
  int max_groups;
  Format (*format)(InputType, WeightType);
  void (*product)(const BlockProduct&);
  void (*depthwise)(const DepthwiseBlock&);
  // codes[i] = requantize(acc[i]) for a run; `high` and `inside` may be null. False: some acc << lsh
  // leaves int32, and then codes mean nothing.
  bool (*requantize)(const RequantPlan&, const int32_t* acc, const int32_t* high, int64_t count, int32_t* codes,
                     uint8_t* inside);
  // The same with one channel per element: channel0, channel0 + 1, ...
  bool (*requantize_channels)(const RequantPlan&, int64_t channel0, const int32_t* acc, const int32_t* high,
                              int64_t count, int32_t* codes, uint8_t* inside);
  // Both rounds of a split layer; digital is the bias of the digital part, one per element.
  void (*split_requantize)(const RequantPlan&, const SplitRule&, const int32_t* low, const int32_t* high,
                           const int32_t* digital, int64_t count, int32_t* codes, uint8_t* inside,
                           uint8_t* low_inside);
  void (*store)(const StoreBlock&);
  QuantizeOutcome (*quantize)(const QuantizeRun&);
  // Optional, else null: store of the transposed block as float32, out[j * out_stride + i] = codes[i * stride + j]
  // / codes_per_unit. Without it the driver transposes first.
  void (*store_turned)(const StoreBlock&) = nullptr;
  // Optional, else null: elements [first, last) of a whole array to codes and bits in one pass, first a multiple of
  // 8; and bytes of 0 and 1 to bits, as many as there are vectors for (returns how many, a multiple of 8).
  void (*quantize_bits)(const QuantizeArray&, int64_t first, int64_t last, QuantizeOutcome&) = nullptr;
  int64_t (*pack_bits)(const uint8_t* flags, int64_t count, uint8_t* bits) = nullptr;
  // How the driver serves them best. None of it changes a result.
  bool even_rows = false;           // pixels at even distances are faster: a few superfluous ones are worth it
  int64_t item_bytes = 256 * 1024;  // input codes that stay in L2 while all weights go over them
  const Loops* small = nullptr;     // better for products these are too wide for (choose_loops.h)
  int64_t small_rows = 0;           // ... all with fewer pixels than this
};

// nullptr where the compiler cannot make them.
const Loops* avx2_loops();
const Loops* avx512vnni_loops();
const Loops* amx_loops();

}  // namespace bittwin
