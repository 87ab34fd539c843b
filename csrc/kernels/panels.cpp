// SPDX-License-Identifier: Apache-2.0
#include "kernels/panels.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "kernels/transpose.h"

namespace bittwin {
namespace {

// Where the weight of (column, tap, input channel) stands; all within one convolution group.
struct WeightOrder {
  int64_t column, tap, channel;  // strides in elements
};

WeightOrder order_of(const Problem& p) {
  const ConvShape& s = p.shape;
  const int64_t area = s.kernel_h * s.kernel_w;
  if (p.op == Op::conv_transpose2d) return {area, 1, s.out_channels * area};
  return {s.in_channels / s.groups * area, 1, area};
}

// The column's weights, every segment filled up with zeros to `segment_codes`.
template <typename W, typename T>
void gather_column(const W* w, const WeightOrder& order, int64_t channels, const Sweep& sweep, int64_t column,
                   int64_t segment_codes, T* out) {
  for (const Segment& segment : sweep.segments) {
    T* to = out;
    for (const int tap : segment.taps) {
      const W* from = w + column * order.column + tap * order.tap;
      if (order.channel == 1) {
        to = std::copy(from, from + channels, to);
      } else {
        for (int64_t c = 0; c < channels; ++c) *to++ = from[c * order.channel];
      }
    }
    std::fill(to, out + segment_codes, T{0});
    out += segment_codes;
  }
}

// Modulo 2^32.
template <typename T>
int32_t sum_of(const T* codes, int64_t count) {
  uint32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<uint32_t>(int32_t{codes[i]});
  return static_cast<int32_t>(sum);
}

#if defined(__SSE2__)
// psadbw adds eight unsigned bytes at once; each code is 128 too large.
template <>
int32_t sum_of(const int8_t* codes, int64_t count) {
  const __m128i flip = _mm_set1_epi8(-128);
  __m128i sums = _mm_setzero_si128();
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    sums = _mm_add_epi64(sums, _mm_sad_epu8(_mm_xor_si128(load_row(codes + i), flip), _mm_setzero_si128()));
  }
  const __m128i both = _mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums));
  uint32_t sum = static_cast<uint32_t>(_mm_cvtsi128_si32(both)) - static_cast<uint32_t>(128 * i);
  for (; i < count; ++i) sum += static_cast<uint32_t>(int32_t{codes[i]});
  return static_cast<int32_t>(sum);
}
#endif

// One plane of `count` codes into units.
void write_plane(const int16_t* codes, int64_t count, const Format& f, int plane, uint8_t* out) {
  if (f.code_bytes == 2) {
    std::memcpy(out, codes, static_cast<size_t>(count) * 2);
    return;
  }
  const int shift = 8 * plane;
  for (int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<uint8_t>(static_cast<uint16_t>(codes[i]) >> shift);
  }
}

// Memory that making a panel needs for a moment.
struct PanelScratch {
  Buffer row, block;
};

template <typename W>
void make_panel(const W* w, const Loops& loops, const Format& f, const WeightOrder& order, int64_t columns,
                int64_t channels, const Sweep& sweep, PanelScratch& scratch, Panel& panel) {
  const auto segments = static_cast<int64_t>(sweep.segments.size());
  const int64_t taps = segments == 0 ? 0 : static_cast<int64_t>(sweep.segments[0].taps.size());
  panel.units = segment_units(f, taps * channels);
  const int64_t units = segments * panel.units;
  const int64_t codes = units * 4 / f.code_bytes;
  const int64_t segment_codes = panel.units * 4 / f.code_bytes;
  const int64_t lane = loops.lane;
  const int64_t groups = (columns + lane - 1) / lane;
  panel.group_stride = units * lane * 4;
  panel.w_plane = groups * panel.group_stride;
  panel.sum.assign(static_cast<size_t>(columns), 0);
  uint8_t* bytes = panel.bytes.reserve(f.w_planes * panel.w_plane + 64);
  int16_t* row = scratch.row.array<int16_t>(codes);
  uint32_t* block = scratch.block.array<uint32_t>(f.w_planes * lane * units);  // [plane][lane][units]
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t here = std::min(lane, columns - g * lane);
    if (here < lane) std::fill(block, block + f.w_planes * lane * units, 0U);
    for (int64_t j = 0; j < here; ++j) {
      const int64_t column = g * lane + j;
      int32_t& sum = panel.sum[static_cast<size_t>(column)];
      if constexpr (sizeof(W) == 1) {
        if (f.code_bytes == 1 && f.w_planes == 1) {  // a unit is four weights side by side: no detour through int16
          auto* to = reinterpret_cast<int8_t*>(block + j * units);
          gather_column(w, order, channels, sweep, column, segment_codes, to);
          sum = sum_of(to, codes);
          continue;
        }
      }
      gather_column(w, order, channels, sweep, column, segment_codes, row);
      sum = sum_of(row, codes);
      for (int plane = 0; plane < f.w_planes; ++plane) {
        write_plane(row, codes, f, plane, reinterpret_cast<uint8_t*>(block + (plane * lane + j) * units));
      }
    }
    for (int plane = 0; plane < f.w_planes; ++plane) {
      transpose(block + plane * lane * units, units, lane, units,
                reinterpret_cast<uint32_t*>(bytes + plane * panel.w_plane + g * panel.group_stride), lane);
    }
  }
}

}  // namespace

void make_panels(const Loops& loops, const Problem& p, InputType x_type, const Geometry2d& geometry,
                 PanelSet& set) {
  thread_local PanelScratch scratch;
  const ConvShape& s = p.shape;
  set.format = loops.format(x_type, p.w_type);
  const WeightOrder order = order_of(p);
  const int64_t columns = s.out_channels / s.groups;
  const int64_t channels = s.in_channels / s.groups;
  set.panels.resize(static_cast<size_t>(s.groups) * geometry.sweeps.size());
  size_t i = 0;
  for (int64_t g = 0; g < s.groups; ++g) {
    for (const Sweep& sweep : geometry.sweeps) {
      const int64_t first = g * columns * order.column;
      const auto make = [&](const auto* w) {
        make_panel(w + first, loops, set.format, order, columns, channels, sweep, scratch, set.panels[i++]);
      };
      if (p.w_type == WeightType::s8) {
        make(static_cast<const int8_t*>(p.w));
      } else {
        make(static_cast<const int16_t*>(p.w));
      }
    }
  }
}

PanelCache::~PanelCache() {
  for (const Node* node = first_.load(std::memory_order_acquire); node != nullptr;) {
    const Node* next = node->next;
    delete node;
    node = next;
  }
}

const PanelCache::Node* PanelCache::find(const Key& key, const Node* from) const {
  while (from != nullptr && from->key != key) from = from->next;
  return from;
}

const PanelSet& PanelCache::get(const Loops& loops, const Problem& p, InputType x_type,
                                const Geometry2d& geometry) {
  const ConvShape& s = p.shape;
  const Format f = loops.format(x_type, p.w_type);
  const bool transposed = p.op == Op::conv_transpose2d;
  // Everything that decides the order of weights: not the input's size, unless it decides the sweeps.
  const Key key{static_cast<int64_t>(reinterpret_cast<intptr_t>(&loops)),
                f.code_bytes * 16 + f.x_planes * 4 + f.w_planes,
                static_cast<int64_t>(x_type),  // panels may be the same, but the set carries the format
                static_cast<int64_t>(p.op),
                s.groups,
                s.dilation_h,
                s.dilation_w,
                transposed ? s.stride_h : 0,
                transposed ? s.stride_w : 0,
                transposed ? phases(s.stride_h, s.out_h) : 0,
                transposed ? phases(s.stride_w, s.out_w) : 0,
                transposed ? s.pad_top : 0,
                transposed ? s.pad_left : 0,
                s.kernel_h,
                s.kernel_w,
                s.in_channels,
                s.out_channels};
  const Node* known = find(key, first_.load(std::memory_order_acquire));
  if (known != nullptr) return known->set;
  auto made = std::make_unique<Node>();
  made->key = key;
  make_panels(loops, p, x_type, geometry, made->set);
  made->next = first_.load(std::memory_order_acquire);
  do {
    known = find(key, made->next);  // another thread's
    if (known != nullptr) return known->set;
  } while (!first_.compare_exchange_weak(made->next, made.get(), std::memory_order_acq_rel));
  return made.release()->set;
}

}  // namespace bittwin
