// SPDX-License-Identifier: Apache-2.0
// The tile operations of AMX in plain C++, after their description in Intel's Software Developer's Manual, volume 2
// (LDTILECFG, TILELOADD, TDPBSSD and its relatives, TILESTORED). What would fault there ends the program here.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/simd/amx_product.h"

namespace bittwin::test {

struct TileState {
  bool configured = false;
  TileConfig config;
  uint8_t tile[8][16][64] = {};
};

inline TileState& tile_state() {
  thread_local TileState state;
  return state;
}

inline void tile_fault(const char* why) {
  std::fprintf(stderr, "emulated tiles: %s\n", why);
  std::abort();
}

struct EmulatedTiles {
  static void configure(const TileConfig& config) {
    TileState& s = tile_state();
    for (int t = 0; t < 16; ++t) {
      const bool used = config.rows[t] != 0 || config.row_bytes[t] != 0;
      if (t >= 8 && used) tile_fault("palette 1 has 8 tiles");
      if (config.rows[t] > 16 || config.row_bytes[t] > 64) tile_fault("a tile is at most 16 x 64 bytes");
      if ((config.rows[t] == 0) != (config.row_bytes[t] == 0)) tile_fault("rows without columns");
    }
    for (const uint8_t byte : config.reserved) {
      if (byte != 0) tile_fault("reserved bytes");
    }
    if (config.palette != 1 || config.start_row != 0) tile_fault("palette");
    s.config = config;
    std::memset(s.tile, 0, sizeof(s.tile));
    s.configured = true;
  }
  static void release() { tile_state().configured = false; }

  template <int Tile>
  static void load(const void* from, int64_t stride) {
    TileState& s = used(Tile);
    std::memset(s.tile[Tile], 0, sizeof(s.tile[Tile]));
    for (int r = 0; r < s.config.rows[Tile]; ++r) {
      std::memcpy(s.tile[Tile][r], static_cast<const uint8_t*>(from) + r * stride, s.config.row_bytes[Tile]);
    }
  }

  template <int Tile>
  static void store(void* to, int64_t stride) {
    const TileState& s = used(Tile);
    for (int r = 0; r < s.config.rows[Tile]; ++r) {
      std::memcpy(static_cast<uint8_t*>(to) + r * stride, s.tile[Tile][r], s.config.row_bytes[Tile]);
    }
  }

  template <bool XSigned, bool WSigned, int Sums, int Codes, int Weights>
  static void dot() {
    TileState& s = used(Sums);
    const TileConfig& c = s.config;
    if (c.rows[Sums] != c.rows[Codes] || c.row_bytes[Sums] != c.row_bytes[Weights] ||
        c.row_bytes[Codes] / 4 != c.rows[Weights]) {
      tile_fault("tiles do not fit together");
    }
    for (int m = 0; m < c.rows[Sums]; ++m) {
      for (int n = 0; n < c.row_bytes[Sums] / 4; ++n) {
        uint32_t sum;
        std::memcpy(&sum, s.tile[Sums][m] + 4 * n, 4);
        for (int k = 0; k < c.rows[Weights]; ++k) {
          for (int i = 0; i < 4; ++i) {
            const uint8_t x = s.tile[Codes][m][4 * k + i];
            const uint8_t w = s.tile[Weights][k][4 * n + i];
            const int32_t xs = XSigned ? static_cast<int8_t>(x) : static_cast<int32_t>(x);
            const int32_t ws = WSigned ? static_cast<int8_t>(w) : static_cast<int32_t>(w);
            sum += static_cast<uint32_t>(xs * ws);
          }
        }
        std::memcpy(s.tile[Sums][m] + 4 * n, &sum, 4);
      }
    }
  }

 private:
  static TileState& used(int tile) {
    TileState& s = tile_state();
    if (!s.configured || s.config.rows[tile] == 0) tile_fault("a tile that is not configured");
    return s;
  }
};

}  // namespace bittwin::test
