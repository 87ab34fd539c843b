// SPDX-License-Identifier: Apache-2.0
// A chain of layers on feature vectors, run in one call: what a network of linear layers and activations is.
//
// Contract: run_program computes, for every frame, exactly what the layers compute one by one (problem.h,
// activation.h). It computes nothing of its own; it saves the way through Python between layers, and goes over a
// block of frames while their codes are in the cache. It returns false, with nothing meaningful written, where a
// layer would refuse a code (out of its range, or acc << lsh beyond int32): the caller then runs the layers one
// by one, which says what is wrong.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/problem.h"

namespace bittwin {

// Codes are bytes between steps: uint8 or int8.
struct ProgramStep {
  enum class Kind : int { linear, relu, clip, lookup } kind = Kind::relu;
  int64_t inputs = 0;  // codes per frame
  int64_t outputs = 0;
  bool in_signed = false;  // dtype of the incoming codes
  // linear: weight and bias as in Problem; codes must lie in 0..x_high where x_unsigned
  Problem problem{};
  const RequantPlan* plan = nullptr;
  OutputType type = OutputType::s8;
  bool x_unsigned = true;
  int32_t x_high = 255;
  // relu: gain; clip: limit; lookup: entries of `table`
  int32_t number = 0;
  const uint8_t* table = nullptr;
};

bool run_program(const KernelSet& set, const std::vector<ProgramStep>& steps, const uint8_t* x, int64_t frames,
                 uint8_t* out);

}  // namespace bittwin
