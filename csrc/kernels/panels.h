// SPDX-License-Identifier: Apache-2.0
// Weights as an instruction set's loops read them (see loops.h), and where packed weights keep them.
#pragma once

#include <array>
#include <atomic>
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

// Units of a segment of `codes` codes, padding included.
inline int64_t segment_units(const Format& f, int64_t codes) {
  const int64_t per_unit = 4 / f.code_bytes;
  const int64_t units = (codes + per_unit - 1) / per_unit;
  return (units + f.align_units - 1) / f.align_units * f.align_units;
}

struct PanelSet {
  Format format{};
  std::vector<Panel> panels;  // [groups * sweeps], sweeps fastest
};

// Builds what `loops` need for inputs of type x_type (a part of a split layer may have another type than the
// problem's own x), in the memory that `set` has from before.
void make_panels(const Loops& loops, const Problem& problem, InputType x_type, const Geometry2d& geometry,
                 PanelSet& set);

// Keeps arrangements of one weight array, which must not change while the cache lives. Thread-safe: looking one up
// takes no lock, and two threads that make the same one at the same time agree on the first.
class PanelCache {
 public:
  PanelCache() = default;
  PanelCache(const PanelCache&) = delete;
  PanelCache& operator=(const PanelCache&) = delete;
  ~PanelCache();

  // Lives as long as the cache.
  const PanelSet& get(const Loops& loops, const Problem& problem, InputType x_type, const Geometry2d& geometry);

 private:
  using Key = std::array<int64_t, 17>;
  struct Node {
    Key key;
    PanelSet set;
    Node* next;
  };
  const Node* find(const Key& key, const Node* from) const;

  std::atomic<Node*> first_{nullptr};  // a list that only grows, at its front
};

}  // namespace bittwin
