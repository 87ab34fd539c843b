// SPDX-License-Identifier: Apache-2.0
// What a kernel computes, and the table that picks one at run time.
//
// Contracts (x codes and w codes are any of the listed types; problem.h says how a caller asks):
//   linear_xxyy_s32     acc[m,n] = bias[n] + sum_k x[m,k] * w[n,k]              (bias may be null)
//   conv2d_xxyy_s32     NCHW input, OIHW weight, zeros outside the input
//   conv_transpose2d    NCHW input, IOHW weight: every input pixel is scattered over the output
// Accumulators are INT32 and wrap modulo 2^32 (wrap is defined, through uint32). Callers either prove that
// no wrap can happen (accumulator_bound) or ask for it by name. So there is one kernel for both.
// The reference (`ref`) is normative: every other entry of the table equals it on every input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace bittwin {

enum class InputType : int { u8, s8, u16, s16 };
enum class WeightType : int { s8, s16 };
inline constexpr int kInputTypes = 4;
inline constexpr int kWeightTypes = 2;

struct LinearShape {
  int64_t m, k, n;
};

struct ConvShape {
  int64_t batch, in_channels, in_h, in_w;
  int64_t out_channels, out_h, out_w;
  int64_t kernel_h, kernel_w;
  int64_t stride_h, stride_w;
  int64_t pad_top, pad_left;
  int64_t dilation_h, dilation_w;
  int64_t groups;
};

struct Loops;

struct KernelSet {
  const char* name;
  const char* description;
  // nullptr when this CPU can run it, otherwise the reason why not.
  const char* (*unavailable)();
  // The hot loops of an instruction set; nullptr: the reference (see problem.h for what runs them).
  const Loops* (*loops)();
};

// Best first, `ref` last.
const std::vector<KernelSet>& kernel_table();
// The set in use: the first available one, or the one BITTWIN_KERNEL names.
// Throws std::runtime_error when BITTWIN_KERNEL names an unknown or unavailable kernel.
const KernelSet& active_kernel();
// Makes `name` the active kernel (tests force each in turn); "" goes back to the rule above.
void force_kernel(const std::string& name);

}  // namespace bittwin
