// SPDX-License-Identifier: Apache-2.0
#include "kernels/panels.h"

#include <algorithm>
#include <cstring>

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

template <typename W>
void gather_column(const W* w, const WeightOrder& order, int64_t channels, const Sweep& sweep, int64_t column,
                   int64_t segment_codes, int16_t* out) {
  for (const Segment& segment : sweep.segments) {
    int16_t* to = out;
    for (const int tap : segment.taps) {
      const W* from = w + column * order.column + tap * order.tap;
      for (int64_t c = 0; c < channels; ++c) *to++ = from[c * order.channel];
    }
    std::fill(to, out + segment_codes, int16_t{0});
    out += segment_codes;
  }
}

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

int64_t units_for(const Format& f, int64_t codes) {
  const int64_t per_unit = 4 / f.code_bytes;
  const int64_t units = (codes + per_unit - 1) / per_unit;
  return (units + f.align_units - 1) / f.align_units * f.align_units;
}

template <typename W>
Panel make_panel(const W* w, const Loops& loops, const Format& f, const WeightOrder& order, int64_t columns,
                 int64_t channels, const Sweep& sweep) {
  Panel panel;
  const auto segments = static_cast<int64_t>(sweep.segments.size());
  const int64_t taps = segments == 0 ? 0 : static_cast<int64_t>(sweep.segments[0].taps.size());
  panel.units = units_for(f, taps * channels);
  const int64_t units = segments * panel.units;
  const int64_t codes = units * 4 / f.code_bytes;
  const int64_t lane = loops.lane;
  const int64_t groups = (columns + lane - 1) / lane;
  panel.group_stride = units * lane * 4;
  panel.w_plane = groups * panel.group_stride;
  panel.sum.assign(static_cast<size_t>(columns), 0);
  uint8_t* bytes = panel.bytes.reserve(f.w_planes * panel.w_plane + 64);
  std::vector<int16_t> row(static_cast<size_t>(codes));
  std::vector<uint32_t> block(static_cast<size_t>(f.w_planes * lane * units));  // [plane][lane][units]
  for (int64_t g = 0; g < groups; ++g) {
    std::fill(block.begin(), block.end(), 0U);
    for (int64_t j = 0; j < lane && g * lane + j < columns; ++j) {
      const int64_t column = g * lane + j;
      gather_column(w, order, channels, sweep, column, panel.units * 4 / f.code_bytes, row.data());
      uint32_t sum = 0;
      for (const int16_t code : row) sum += static_cast<uint32_t>(int32_t{code});
      panel.sum[static_cast<size_t>(column)] = static_cast<int32_t>(sum);
      for (int plane = 0; plane < f.w_planes; ++plane) {
        write_plane(row.data(), codes, f, plane,
                    reinterpret_cast<uint8_t*>(block.data() + (plane * lane + j) * units));
      }
    }
    for (int plane = 0; plane < f.w_planes; ++plane) {
      transpose(block.data() + plane * lane * units, units, lane, units,
                reinterpret_cast<uint32_t*>(bytes + plane * panel.w_plane + g * panel.group_stride), lane);
    }
  }
  return panel;
}

}  // namespace

PanelSet make_panels(const Loops& loops, const Problem& p, InputType x_type, const Geometry2d& geometry) {
  const ConvShape& s = p.shape;
  PanelSet set;
  set.format = loops.format(x_type, p.w_type);
  const WeightOrder order = order_of(p);
  const int64_t columns = s.out_channels / s.groups;
  const int64_t channels = s.in_channels / s.groups;
  for (int64_t g = 0; g < s.groups; ++g) {
    for (const Sweep& sweep : geometry.sweeps) {
      const int64_t first = g * columns * order.column;
      set.panels.push_back(p.w_type == WeightType::s8 ? make_panel(static_cast<const int8_t*>(p.w) + first, loops,
                                                                   set.format, order, columns, channels, sweep)
                                                      : make_panel(static_cast<const int16_t*>(p.w) + first, loops,
                                                                   set.format, order, columns, channels, sweep));
    }
  }
  return set;
}

std::shared_ptr<const PanelSet> PanelCache::get(const Loops& loops, const Problem& p, InputType x_type,
                                                const Geometry2d& geometry) {
  const ConvShape& s = p.shape;
  const Format f = loops.format(x_type, p.w_type);
  const bool transposed = p.op == Op::conv_transpose2d;
  // Everything that decides the order of weights: not the input's size, unless it decides the sweeps.
  const Key key{static_cast<int64_t>(reinterpret_cast<intptr_t>(&loops)),
                f.code_bytes * 16 + f.x_planes * 4 + f.w_planes,
                static_cast<int64_t>(p.op),
                s.groups,
                s.dilation_h,
                s.dilation_w,
                transposed ? s.stride_h : 0,
                transposed ? s.stride_w : 0,
                transposed ? s.pad_top : 0,
                transposed ? s.pad_left : 0,
                s.kernel_h,
                s.kernel_w,
                s.in_channels,
                s.out_channels};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& entry : sets_) {
      if (entry.first == key) return entry.second;
    }
  }
  auto made = std::make_shared<const PanelSet>(make_panels(loops, p, x_type, geometry));
  const std::lock_guard<std::mutex> lock(mutex_);
  sets_.emplace_back(key, made);
  return made;
}

}  // namespace bittwin
