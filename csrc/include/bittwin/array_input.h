// SPDX-License-Identifier: Apache-2.0
// The array's input converter: one byte of the register file to the number that drives a row.
//
// Contract: dac(byte, is_signed, invert, doubled)
//   unsigned: byte;                 inverted: (256 - byte) & 255, so 0 stays 0
//   signed:   max(int8(byte), 0);   inverted: max(-int8(byte), 0), and -128 gives 0
//   doubled:  the result times two, up to 510, never limited.
// Worked example: byte 200: unsigned 200, inverted 56; signed 0 (it is -56), inverted 56.
// Source: docs/spec/array_round.md (measured on the chip C-model, all 256 bytes).
#pragma once

#include <cstdint>

namespace bittwin {

constexpr int32_t dac(uint8_t byte, bool is_signed, bool invert, bool doubled) {
  int32_t x = byte;
  if (is_signed) {
    const int32_t s = byte < 128 ? byte : byte - 256;
    const int32_t driven = invert ? (s == -128 ? 0 : -s) : s;
    x = driven > 0 ? driven : 0;
  } else if (invert) {
    x = (256 - x) & 255;
  }
  return doubled ? 2 * x : x;
}

static_assert(dac(200, false, false, false) == 200 && dac(200, false, true, false) == 56, "unsigned");
static_assert(dac(200, true, false, false) == 0 && dac(200, true, true, false) == 56, "signed");
static_assert(dac(128, true, true, false) == 0 && dac(0, false, true, true) == 0, "ends");
static_assert(dac(255, false, false, true) == 510, "doubling does not clip");

}  // namespace bittwin
