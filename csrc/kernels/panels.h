// SPDX-License-Identifier: Apache-2.0
// Weights as an instruction set's loops read them (see loops.h), and where packed weights keep them.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/geometry.h"

namespace bittwin {

// The columns of one convolution group in one sweep.
struct Panel {
  Buffer bytes;
  int64_t group_stride = 0;  // bytes per `lane` columns
  int64_t w_plane = 0;
  int64_t units = 0;         // per segment
  std::vector<int32_t> sum;  // of every column's weights, modulo 2^32
};

struct PanelSet {
  Format format{};
  std::vector<Panel> panels;  // [groups * sweeps], sweeps fastest
};

// Builds what `loops` need for inputs of type x_type (a part of a split layer may have another type than the
// problem's own x).
PanelSet make_panels(const Loops& loops, const Problem& problem, InputType x_type, const Geometry2d& geometry);

// Keeps arrangements of one weight array, which must not change while the cache lives. Thread-safe.
class PanelCache {
 public:
  std::shared_ptr<const PanelSet> get(const Loops& loops, const Problem& problem, InputType x_type,
                                      const Geometry2d& geometry);

 private:
  using Key = std::array<int64_t, 14>;
  std::mutex mutex_;
  std::vector<std::pair<Key, std::shared_ptr<const PanelSet>>> sets_;
};

}  // namespace bittwin
