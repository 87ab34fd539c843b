// SPDX-License-Identifier: Apache-2.0
// Convolution geometry: from arrays and settings to the shape that a kernel takes.
#pragma once

#include <algorithm>
#include <array>

#include "bindings/arrays.h"

namespace bittwin {

// Sizes of an array of up to four axes, without memory of their own; more axes count as none.
class Extents {
 public:
  Extents() = default;
  Extents(const py::ssize_t* sizes, py::ssize_t axes) : count_(axes <= 4 ? static_cast<size_t>(axes) : 0) {
    std::copy_n(sizes, count_, sizes_.begin());
  }
  size_t size() const { return count_; }
  int64_t operator[](size_t i) const { return sizes_[i]; }

 private:
  std::array<int64_t, 4> sizes_{};
  size_t count_ = 0;
};

struct Geometry {
  std::array<int64_t, 2> stride{1, 1};
  std::array<int64_t, 4> padding{0, 0, 0, 0};  // top, left, bottom, right
  std::array<int64_t, 2> dilation{1, 1};
  std::array<int64_t, 2> output_padding{0, 0};
  int64_t groups = 1;
};

// Settings and sizes up to here leave every position within int64.
inline constexpr int64_t kMostSetting = int64_t{1} << 30;
inline constexpr int64_t kMostSize = int64_t{1} << 31;

inline bool usable(const Geometry& g) {
  const auto within = [](int64_t v, int64_t least) { return v >= least && v <= kMostSetting; };
  bool ok = within(g.groups, 1);
  for (const int64_t v : g.stride) ok = ok && within(v, 1);
  for (const int64_t v : g.dilation) ok = ok && within(v, 1);
  for (const int64_t v : g.padding) ok = ok && within(v, 0);
  for (const int64_t v : g.output_padding) ok = ok && within(v, 0);
  return ok;
}

// Elements of a convolution's output, which its array has to have.
inline int64_t outputs_of(const ConvShape& s) {
  int64_t count = s.batch;
  for (const int64_t n : {s.out_channels, s.out_h, s.out_w}) {
    require(n == 0 || count <= INT64_MAX / n, "conv: the output is too large");
    count *= n;
  }
  return count;
}

// What both convolutions share; x is [N, C, H, W].
inline ConvShape input_shape(const std::array<int64_t, 4>& x, const Extents& w, const Geometry& g) {
  require(w.size() == 4 && usable(g), "conv: bad geometry");
  require(w[2] >= 1 && w[3] >= 1, "conv: empty kernel");
  require(std::max({x[2], x[3], w[2], w[3]}) <= kMostSize, "conv: image or kernel too large");
  ConvShape s{};
  s.batch = x[0], s.in_channels = x[1], s.in_h = x[2], s.in_w = x[3];
  s.kernel_h = w[2], s.kernel_w = w[3];
  s.stride_h = g.stride[0], s.stride_w = g.stride[1];
  s.pad_top = g.padding[0], s.pad_left = g.padding[1];
  s.dilation_h = g.dilation[0], s.dilation_w = g.dilation[1];
  s.groups = g.groups;
  return s;
}

inline ConvShape conv2d_shape(const std::array<int64_t, 4>& x, const Extents& w, const Geometry& g) {
  ConvShape s = input_shape(x, w, g);
  require(s.in_channels == w[1] * g.groups && w[0] % g.groups == 0, "conv2d: bad groups");
  s.out_channels = w[0];
  const int64_t span_h = s.in_h + g.padding[0] + g.padding[2] - (s.kernel_h - 1) * s.dilation_h - 1;
  const int64_t span_w = s.in_w + g.padding[1] + g.padding[3] - (s.kernel_w - 1) * s.dilation_w - 1;
  require(span_h >= 0 && span_w >= 0, "conv2d: the kernel is larger than the padded input");
  s.out_h = span_h / s.stride_h + 1;
  s.out_w = span_w / s.stride_w + 1;
  return s;
}

inline ConvShape conv_transpose2d_shape(const std::array<int64_t, 4>& x, const Extents& w, const Geometry& g) {
  ConvShape s = input_shape(x, w, g);
  require(s.in_channels == w[0] && g.groups == 1, "conv_transpose2d: shapes do not match");
  s.out_channels = w[1];
  s.out_h = (s.in_h - 1) * s.stride_h + (s.kernel_h - 1) * s.dilation_h + 1 + g.output_padding[0] - g.padding[0] -
            g.padding[2];
  s.out_w = (s.in_w - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1 + g.output_padding[1] - g.padding[1] -
            g.padding[3];
  require(s.out_h >= 0 && s.out_w >= 0, "conv_transpose2d: the output has a negative size");
  return s;
}

}  // namespace bittwin
