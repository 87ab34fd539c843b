// SPDX-License-Identifier: Apache-2.0
// What happens to a number that does not fit: it saturates, or it wraps. Nothing else, and always by name.
//
// Contract: saturate(v, lo, hi) with lo <= hi returns the nearest number in [lo, hi].
//   wrapping_s16(v) and wrapping_s32(v) keep the low 16 or 32 bits, read as two's complement.
// Worked example: 40000 -> saturate(.., -32768, 32767) = 32767, wrapping_s16 = -25536.
#pragma once

#include <cstdint>

namespace bittwin {

constexpr int64_t saturate(int64_t v, int64_t lo, int64_t hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

constexpr int32_t wrapping_s16(int64_t v) {
  const int32_t low = static_cast<int32_t>(static_cast<uint64_t>(v) & 0xFFFFU);
  return low < 0x8000 ? low : low - 0x10000;
}

constexpr int32_t wrapping_s32(int64_t v) {
  const int64_t low = static_cast<int64_t>(static_cast<uint64_t>(v) & 0xFFFFFFFFU);
  return static_cast<int32_t>(low < (int64_t{1} << 31) ? low : low - (int64_t{1} << 32));
}

static_assert(saturate(128, -128, 127) == 127 && saturate(-129, -128, 127) == -128, "both ends");
static_assert(wrapping_s16(40000) == -25536 && wrapping_s16(-32769) == 32767, "16-bit wrap");
static_assert(wrapping_s32(int64_t{1} << 31) == INT32_MIN, "32-bit wrap");

}  // namespace bittwin
