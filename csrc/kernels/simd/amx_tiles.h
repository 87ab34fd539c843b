// SPDX-License-Identifier: Apache-2.0
// Tile operations of the CPU.
//
// The instructions stand in volatile assembly: the order of them is the program (tiles are global state), and GCC
// 12's intrinsic for ldtilecfg can lose stores to its operand. "memory" makes the compiler finish its stores before
// a load and forget what it knows after a store.
#pragma once

#include <cstdint>

#include "kernels/simd/amx_product.h"

#define BITTWIN_TILE_OP __attribute__((always_inline)) static inline

namespace bittwin {

struct HardwareTiles {
  BITTWIN_TILE_OP void configure(const TileConfig& config) {
    asm volatile("ldtilecfg %0" ::"m"(config) : "memory");
  }
  BITTWIN_TILE_OP void release() { asm volatile("tilerelease" ::: "memory"); }

  template <int Tile>
  BITTWIN_TILE_OP void load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "n"(Tile) : "memory");
  }
  template <int Tile>
  BITTWIN_TILE_OP void store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "n"(Tile) : "memory");
  }

  // sums += codes x weights. In AT&T order the weights come first.
  template <bool XSigned, bool WSigned, int Sums, int Codes, int Weights>
  BITTWIN_TILE_OP void dot() {
    if constexpr (XSigned && WSigned) {
      asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"n"(Sums), "n"(Codes), "n"(Weights));
    } else if constexpr (XSigned) {
      asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"n"(Sums), "n"(Codes), "n"(Weights));
    } else if constexpr (WSigned) {
      asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"n"(Sums), "n"(Codes), "n"(Weights));
    } else {
      asm volatile("tdpbuud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"n"(Sums), "n"(Codes), "n"(Weights));
    }
  }
};

}  // namespace bittwin
