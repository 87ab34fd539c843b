// SPDX-License-Identifier: Apache-2.0
// The AMX product over a policy of tile operations: real tiles (amx_tiles.h), or emulated ones where tests have no
// such CPU. See memory_loops.h for BITTWIN_TARGET.
//
// A tile is 16 rows of 64 bytes. One dot-product instruction multiplies a tile of 16 pixels x 64 codes with a tile
// of 16 units x 16 columns (which is how a group of weights lies in memory) and adds to 16 x 16 sums; the core
// keeps 2 x 2 tiles of sums, so that four independent instructions hide the latency of each other.
//
// Exact because the instructions add u8/s8 x u8/s8 products in 32 bits modulo 2^32. Codes of two bytes are cut into
// planes, low byte unsigned, high byte of the code's own sign: code = low + 256 high, and by Horner's rule
//   acc = ((sum(hh) << 8) + sum(hl) + sum(lh)) << 8) + sum(ll) + start     modulo 2^32.
// Worked example, one code -2 = 254 + 256 * -1 times weight 3: sum(h) = -3, -3 * 256 + 254 * 3 = -6.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/buffer.h"
#include "kernels/loops.h"
#include "kernels/simd/stretch.h"

namespace bittwin {

constexpr int kTileRows = 16;      // pixels, and units
constexpr int kTileRowBytes = 64;  // 64 codes, or 16 columns
constexpr int kAmxGroups = 4;      // of 16 columns
constexpr int kPairRows = 2 * kTileRows;

// Which tile register holds what.
enum TileName { kC00, kC01, kC10, kC11, kA0, kA1, kB0, kB1 };

// The operand of ldtilecfg.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64, "as the instruction reads it");

static TileConfig tile_config(int rows0, int rows1) {
  TileConfig config;
  config.rows[kC00] = config.rows[kC01] = config.rows[kA0] = static_cast<uint8_t>(rows0);
  config.rows[kC10] = config.rows[kC11] = config.rows[kA1] = static_cast<uint8_t>(rows1);
  return config;
}

// Up to 16 pixels, each `stride` bytes after the one before, and where their segments begin.
struct RowTile {
  const uint8_t* base;
  int64_t stride;
  const int64_t* segment;
  int64_t plane;  // bytes to the high plane
};

static bool uniform(const uint8_t* const* row, int64_t rows) {
  // as integers: the rows may lie in different arrays
  const auto at = [row](int64_t i) { return reinterpret_cast<uintptr_t>(row[i]); };
  for (int64_t i = 2; i < rows; ++i) {
    if (at(i) - at(i - 1) != at(1) - at(0)) return false;
  }
  return true;
}

namespace {  // like the static functions: nothing of this file is shared between instruction sets

// Tiles of a block's pixels; pixels at uneven distances are copied side by side.
class RowTiles {
 public:
  void prepare(const BlockProduct& b) {
    const int64_t count = (b.rows + kTileRows - 1) / kTileRows;
    RowTile* tiles = tiles_.array<RowTile>(count);
    gathered_ = nullptr;
    for (int64_t t = 0; t < count; ++t) {
      const uint8_t* const* row = b.row + t * kTileRows;
      const int64_t left = b.rows - t * kTileRows;
      const int64_t rows = left < kTileRows ? left : kTileRows;
      if (uniform(row, rows)) {
        const auto distance =
            reinterpret_cast<intptr_t>(row[rows > 1 ? 1 : 0]) - reinterpret_cast<intptr_t>(row[0]);
        tiles[t] = {row[0], static_cast<int64_t>(distance), b.segment, b.x_plane};
      } else {
        tiles[t] = gather(b, row, rows, t, count);
      }
    }
  }
  const RowTile* data() const { return reinterpret_cast<const RowTile*>(tiles_.data()); }

 private:
  RowTile gather(const BlockProduct& b, const uint8_t* const* row, int64_t rows, int64_t tile, int64_t count) {
    const int64_t run = 4 * b.units;
    const int64_t pitch = b.segments * run + kTileRowBytes;  // an odd number of cache lines spreads over more sets
    const int64_t plane = kTileRows * pitch;
    if (gathered_ == nullptr) {
      gathered_ = codes_.reserve(count * b.format.x_planes * plane);
      int64_t* offset = offsets_.array<int64_t>(b.segments + 1);
      for (int64_t i = 0; i < b.segments; ++i) offset[i] = i * run;
    }
    uint8_t* to = gathered_ + tile * b.format.x_planes * plane;
    for (int p = 0; p < b.format.x_planes; ++p) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < b.segments; ++i) {
          std::memcpy(to + p * plane + r * pitch + i * run, row[r] + p * b.x_plane + b.segment[i],
                      static_cast<size_t>(run));
        }
      }
    }
    return {to, pitch, reinterpret_cast<const int64_t*>(offsets_.data()), plane};
  }

  Buffer tiles_, codes_, offsets_;
  uint8_t* gathered_ = nullptr;
};

}  // namespace

// One or two row tiles times one or two groups over one stretch. `start` is one row for all pixels; null: add to
// acc.
struct TileBlock {
  const RowTile* rows;
  int64_t first_segment;
  int x_plane;
  const uint8_t* weight;
  int64_t group_stride;
  const int32_t* start;
  int32_t* acc;
  int64_t acc_bytes;  // from one pixel to the next
};

template <class Tiles, bool XSigned, bool WSigned, int Rows, int Groups>
static void tile_block(const TileBlock& b, const Stretch& s) {
  const int32_t* from = b.start != nullptr ? b.start : b.acc;
  const int64_t from_bytes = b.start != nullptr ? 0 : b.acc_bytes;
  const int64_t from_below = from_bytes * kTileRows / 4;
  Tiles::template load<kC00>(from, from_bytes);
  if constexpr (Groups == 2) Tiles::template load<kC01>(from + kTileRows, from_bytes);
  if constexpr (Rows == 2) Tiles::template load<kC10>(from + from_below, from_bytes);
  if constexpr (Rows == 2 && Groups == 2) Tiles::template load<kC11>(from + from_below + kTileRows, from_bytes);
  const RowTile& top = b.rows[0];
  const RowTile& below = b.rows[Rows - 1];
  const int64_t top_stride = top.stride;
  const int64_t below_stride = below.stride;
  const int64_t group_stride = b.group_stride;
  const uint8_t* w = b.weight;
  for (int64_t i = 0; i < s.segments; ++i) {
    const int64_t segment = b.first_segment + i;
    const uint8_t* a0 = top.base + b.x_plane * top.plane + top.segment[segment] + 4 * s.first_unit;
    const uint8_t* a1 = below.base + b.x_plane * below.plane + below.segment[segment] + 4 * s.first_unit;
    for (const uint8_t* end = a0 + 4 * s.units; a0 != end; a0 += kTileRowBytes, a1 += kTileRowBytes) {
      Tiles::template load<kA0>(a0, top_stride);
      Tiles::template load<kB0>(w, kTileRowBytes);
      Tiles::template dot<XSigned, WSigned, kC00, kA0, kB0>();
      if constexpr (Groups == 2) Tiles::template load<kB1>(w + group_stride, kTileRowBytes);
      if constexpr (Groups == 2) Tiles::template dot<XSigned, WSigned, kC01, kA0, kB1>();
      if constexpr (Rows == 2) Tiles::template load<kA1>(a1, below_stride);
      if constexpr (Rows == 2) Tiles::template dot<XSigned, WSigned, kC10, kA1, kB0>();
      if constexpr (Rows == 2 && Groups == 2) Tiles::template dot<XSigned, WSigned, kC11, kA1, kB1>();
      w += kTileRows * kTileRowBytes;
    }
  }
  const int64_t acc_below = b.acc_bytes * kTileRows / 4;
  Tiles::template store<kC00>(b.acc, b.acc_bytes);
  if constexpr (Groups == 2) Tiles::template store<kC01>(b.acc + kTileRows, b.acc_bytes);
  if constexpr (Rows == 2) Tiles::template store<kC10>(b.acc + acc_below, b.acc_bytes);
  if constexpr (Rows == 2 && Groups == 2) Tiles::template store<kC11>(b.acc + acc_below + kTileRows, b.acc_bytes);
}

using TileBlockCall = void (*)(const TileBlock&, const Stretch&);

template <class Tiles, bool XSigned, bool WSigned>
static TileBlockCall tile_block_of(int rows, int groups) {
  if (rows == 2 && groups == 2) return tile_block<Tiles, XSigned, WSigned, 2, 2>;
  if (rows == 2) return tile_block<Tiles, XSigned, WSigned, 2, 1>;
  if (groups == 2) return tile_block<Tiles, XSigned, WSigned, 1, 2>;
  return tile_block<Tiles, XSigned, WSigned, 1, 1>;
}

template <class Tiles>
static TileBlockCall tile_block_of(bool x_signed, bool w_signed, int rows, int groups) {
  if (x_signed && w_signed) return tile_block_of<Tiles, true, true>(rows, groups);
  if (x_signed) return tile_block_of<Tiles, true, false>(rows, groups);
  if (w_signed) return tile_block_of<Tiles, false, true>(rows, groups);
  return tile_block_of<Tiles, false, false>(rows, groups);
}

// Pixels of a block that one tile configuration serves: whole pairs of tiles, or what is left.
struct RowPart {
  int64_t first, rows;
};

// One plane of the codes times one plane of the weights, added to acc, or to `start` where that is not null.
template <class Tiles>
static void multiply_planes(const BlockProduct& b, const RowTile* tiles, const RowPart& part, int x_plane,
                            int w_plane, const int32_t* start, int64_t chunk) {
  const bool x_signed = b.format.x_signed && x_plane + 1 == b.format.x_planes;
  const bool w_signed = w_plane + 1 == b.format.w_planes;
  const int row_tiles = part.rows > kTileRows ? 2 : 1;
  const int64_t width = int64_t{b.groups} * kTileRows;
  const uint8_t* weight = b.weight + w_plane * b.w_plane;
  for_each_stretch(b, weight, chunk, kTileRows, [&](const Stretch& s, const uint8_t* w, bool first) {
    for (int g = 0; g < b.groups; g += 2) {
      const TileBlockCall call = tile_block_of<Tiles>(x_signed, w_signed, row_tiles, b.groups - g < 2 ? 1 : 2);
      TileBlock block{
          nullptr,  s.segment - b.segment, x_plane, w + g * b.group_stride, b.group_stride, nullptr, nullptr,
          width * 4};
      if (first && start != nullptr) block.start = start + g * kTileRows;
      for (int64_t r = part.first; r < part.first + part.rows; r += kPairRows) {
        block.rows = tiles + r / kTileRows;
        block.acc = b.acc + r * width + g * kTileRows;
        call(block, s);
      }
    }
  });
}

// Horner's step: acc = 256 acc, plus the start value in the last one.
BITTWIN_TARGET static void next_level(const BlockProduct& b, const RowPart& part, const int32_t* start) {
  const int64_t width = int64_t{b.groups} * kTileRows;
  for (int64_t r = part.first; r < part.first + part.rows; ++r) {
    int32_t* acc = b.acc + r * width;
    for (int64_t j = 0; j < width; ++j) {
      const uint32_t more = start != nullptr ? static_cast<uint32_t>(start[j]) : 0U;
      acc[j] = static_cast<int32_t>((static_cast<uint32_t>(acc[j]) << 8) + more);
    }
  }
}

// `chunk` units of weights are used for all pixels before the next ones. Leaves no tile state behind: other code of
// the thread (a linear algebra library) has tiles of its own, and an idle thread's state costs at every switch.
template <class Tiles>
static void amx_product(const BlockProduct& b, int64_t chunk) {
  static const int32_t kZeros[kAmxGroups * kTileRows] = {};
  thread_local RowTiles tiles;
  tiles.prepare(b);
  const int64_t whole = b.rows / kPairRows * kPairRows;
  const RowPart parts[2] = {{0, whole}, {whole, b.rows - whole}};
  for (const RowPart& part : parts) {
    if (part.rows == 0) continue;
    const auto rows = static_cast<int>(part.rows < kPairRows ? part.rows : kPairRows);
    Tiles::configure(rows <= kTileRows ? tile_config(rows, kTileRows) : tile_config(kTileRows, rows - kTileRows));
    const int top = b.format.x_planes + b.format.w_planes - 2;
    for (int level = top; level >= 0; --level) {
      const int32_t* start = top == 0 ? b.start : level == top ? kZeros : nullptr;  // the top level is one product
      if (level != top) next_level(b, part, level == 0 ? b.start : nullptr);
      for (int x = 0; x < b.format.x_planes; ++x) {
        const int w = level - x;
        if (w < 0 || w >= b.format.w_planes) continue;
        multiply_planes<Tiles>(b, tiles.data(), part, x, w, start, chunk);
      }
    }
  }
  Tiles::release();
}

static Format amx_format(InputType x, WeightType w) {
  const bool x_signed = x == InputType::s8 || x == InputType::s16;
  const int x_planes = x == InputType::u16 || x == InputType::s16 ? 2 : 1;
  return {1, kTileRows, x_planes, w == WeightType::s16 ? 2 : 1, 0, 0, x_signed};
}

}  // namespace bittwin
