// SPDX-License-Identifier: Apache-2.0
// A convolution as sweeps: grids of output pixels that all read the same runs of input codes.
//
// The input lies on a canvas [h, w, channels] with margins, so that no tap ever leaves it. Output pixel (gy, gx)
// of a sweep reads, for every segment, `taps` neighbouring canvas pixels from
//   (gy * step_y + segment.y, gx * step_x + segment.x)  on, each with all channels.
// conv2d is one sweep. conv_transpose2d is one sweep per output phase (oy mod stride, ox mod stride): within a
// phase the same weights meet, which makes it an ordinary convolution of step 1. No im2col matrix is made.
// Worked example, conv_transpose2d, 1 row, kernel 3, stride 2, no padding: even outputs ox = 2 g read inputs g - 1
// (weight 2) and g (weight 0): one segment x = -1, two taps; odd outputs read input g (weight 1): x = 0, one tap.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/problem.h"

namespace bittwin {

struct Segment {
  int64_t y, x;           // canvas position for grid pixel (0, 0)
  std::vector<int> taps;  // kernel positions ky * kernel_w + kx, one per canvas pixel
};

struct Sweep {
  int64_t grid_h, grid_w;
  int64_t step_y, step_x;  // canvas pixels per grid pixel
  int64_t out_y, out_x;    // output pixel of grid pixel (0, 0)
  int64_t out_step_y, out_step_x;
  std::vector<Segment> segments;  // all of one length
};

struct Canvas {
  int64_t top, left, h, w;  // input pixel (0, 0) lies at (top, left)
};

struct Geometry2d {
  Canvas canvas;
  std::vector<Sweep> sweeps;
};

// Output phases of a transposed convolution along one axis: those beyond a small output hold no pixel.
inline int64_t phases(int64_t stride, int64_t out) {
  return std::min(stride, out);
}

// Throws std::bad_alloc for a canvas that no memory holds.
Geometry2d geometry_of(const Problem& problem);

// The same, made once for the last few layers of this thread; it lives until the thread's next call. That of a
// linear layer is one for all: its grid is one row long, and the caller counts rows itself.
const Geometry2d& geometry_for(const Problem& problem);

}  // namespace bittwin
