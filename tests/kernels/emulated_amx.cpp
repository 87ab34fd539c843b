// SPDX-License-Identifier: Apache-2.0
// The AMX loops without AMX. The vector loops are the project's own, compiled for whatever the compiler takes for
// the plainest CPU.
#define BITTWIN_TARGET
#include <cstdint>

namespace bittwin {
// What narrow_avx2.h is for AVX2.
template <typename T>
static inline void narrow16(const int32_t* from, T* to) {
  for (int i = 0; i < 16; ++i) to[i] = static_cast<T>(from[i]);
}
}  // namespace bittwin

#include "checks.h"
#include "emulated_tiles.h"
#include "kernels/simd/memory_loops.h"
#include "kernels/simd/requantize_loops.h"

namespace bittwin::test {
namespace {

void product(const BlockProduct& b) {
  amx_product<EmulatedTiles>(b, 32);  // a small chunk: several passes per product
}

}  // namespace

const Loops* emulated_amx_loops() {
  static const Loops loops = [] {
    Loops l = {kTileRows, kAmxGroups, amx_format,  product, depthwise_run, requantize_run, requantize_channels_run,
               split_run, store_run,  quantize_run};
    l.even_rows = true;
    l.item_bytes = 8 * 1024;
    return l;
  }();
  return &loops;
}

bool emulated_tiles_released() {
  return !tile_state().configured;
}

}  // namespace bittwin::test
