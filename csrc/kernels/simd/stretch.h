// SPDX-License-Identifier: Apache-2.0
// Cuts a block product into passes whose weights stay in the L1 cache while all rows go over them.
#pragma once

#include <cstdint>

#include "kernels/loops.h"

namespace bittwin {

// Whole segments, or a part of one.
struct Stretch {
  const int64_t* segment;
  int64_t segments, first_unit, units;
};

// Calls pass(stretch, weight, first) for all of a product's units in order; `weight` is the plane of weights that
// the product reads, and pass gets the part of it that belongs to the stretch.
template <typename Pass>
inline void for_each_stretch(const BlockProduct& b, const uint8_t* weight, int64_t chunk, int lane, Pass&& pass) {
  if (b.segments == 0 || b.units == 0) return pass(Stretch{b.segment, 0, 0, 0}, weight, true);
  const int64_t unit_bytes = 4 * int64_t{lane};
  if (b.units < chunk) {
    const int64_t together = chunk / b.units;
    for (int64_t i = 0; i < b.segments; i += together) {
      const int64_t segments = i + together < b.segments ? together : b.segments - i;
      pass(Stretch{b.segment + i, segments, 0, b.units}, weight + i * b.units * unit_bytes, i == 0);
    }
    return;
  }
  for (int64_t i = 0; i < b.segments; ++i) {
    for (int64_t u = 0; u < b.units; u += chunk) {
      const int64_t units = u + chunk < b.units ? chunk : b.units - u;
      pass(Stretch{b.segment + i, 1, u, units}, weight + (i * b.units + u) * unit_bytes, i == 0 && u == 0);
    }
  }
}

// A pass adds the products of one stretch; the first pass begins from b.start, later ones from b.acc.
using Pass = void (*)(const BlockProduct& b, const Stretch& s, const uint8_t* weight, bool first);

inline void for_each_stretch(const BlockProduct& b, int64_t chunk, int lane, Pass pass) {
  for_each_stretch(b, b.weight, chunk, lane,
                   [&](const Stretch& s, const uint8_t* weight, bool first) { pass(b, s, weight, first); });
}

}  // namespace bittwin
