// SPDX-License-Identifier: Apache-2.0
// Wide loops lose on narrow products: where most of a tile would stay empty, their `small` companion serves better.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/canvas.h"
#include "kernels/panels.h"

namespace bittwin {

// Bytes of units multiplied per pixel and column, padding and planes included.
inline int64_t segment_cost(const Loops& loops, InputType x, WeightType w, int64_t codes) {
  const Format f = loops.format(x, w);
  return segment_units(f, codes) * f.x_planes * f.w_planes;
}

// The loops for a problem; `part` is one that a split layer multiplies, else Part::whole.
// Worked example: 7 x 7 taps of 1 channel are segments of 7 codes: 16 units in tiles, 2 without: not worth it.
inline const Loops& choose_loops(const Loops& best, const Problem& p, Part part, const Geometry2d& geometry) {
  constexpr int64_t kGain = 4;  // what a unit in a tile costs less
  if (best.small == nullptr) return best;
  int64_t pixels = 0;
  int64_t taps = 0;
  for (const Sweep& s : geometry.sweeps) {
    pixels = std::max(pixels, p.op == Op::linear ? p.shape.in_w : s.grid_h * s.grid_w);
    if (!s.segments.empty()) taps = std::max(taps, static_cast<int64_t>(s.segments[0].taps.size()));
  }
  if (pixels < best.small_rows) return *best.small;
  const int64_t codes = taps * (p.shape.in_channels / p.shape.groups);
  const InputType x = part_type(p.x_type, part);
  const bool wasteful =
      segment_cost(best, x, p.w_type, codes) > kGain * segment_cost(*best.small, x, p.w_type, codes);
  return wasteful ? *best.small : best;
}

}  // namespace bittwin
