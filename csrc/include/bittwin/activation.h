// SPDX-License-Identifier: Apache-2.0
// What follows the array: the activations of one code, the post-adder shift and the digital shift.
//
// Contracts (y is an int8 code unless said):
//   relu(y, gain)             max(y, 0) * gain, gain 1 or 2: 0..254, an unsigned byte
//   clip_activation(y, limit) y limited to [0, limit], limit 0..255
//   table_index(y, size)      position of code y in a table: size 256: y & 255; size 1024: (2 * y) & 1023
//   post_adder_shift(byte, right, num)   on the unsigned byte: left: min(byte << (num + 1), 127); right: min(byte,
//   127)
// Worked example: y = -3: relu 0; table_index 253 of 256, 1018 of 1024.
// Source: docs/spec/array_round.md (measured on the chip C-model).
#pragma once

#include <cstdint>

#include "bittwin/saturate.h"

namespace bittwin {

constexpr int32_t relu(int32_t y, int gain) {
  return (y > 0 ? y : 0) * gain;
}

constexpr int32_t clip_activation(int32_t y, int32_t limit) {
  return static_cast<int32_t>(saturate(y, 0, limit));
}

constexpr int32_t table_index(int32_t y, int size) {
  return size == 1024 ? static_cast<int32_t>(static_cast<uint32_t>(2 * y) & 1023U)
                      : static_cast<int32_t>(static_cast<uint32_t>(y) & 255U);
}

constexpr int32_t post_adder_shift(int32_t byte, bool right, int num) {
  const int64_t shifted = right ? byte : static_cast<int64_t>(byte) << (num + 1);
  return static_cast<int32_t>(saturate(shifted, 0, 127));
}

static_assert(relu(-3, 2) == 0 && relu(127, 2) == 254, "relu");
static_assert(clip_activation(100, 90) == 90 && clip_activation(-1, 90) == 0, "clip");
static_assert(table_index(-3, 256) == 253 && table_index(-3, 1024) == 1018, "two's complement index");
static_assert(post_adder_shift(255, false, 0) == 127 && post_adder_shift(200, true, 3) == 127, "negatives are 127");

}  // namespace bittwin
