// SPDX-License-Identifier: Apache-2.0
// Weights as Python hands them over: an array, or one packed before.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/geometry.h"
#include "kernels/bound.h"
#include "kernels/panels.h"

namespace bittwin {

// A copy of weight codes that never changes, the arrangements made of it so far, and what bounds need of it.
class PackedWeight {
 public:
  explicit PackedWeight(const py::array& codes);

  WeightType type() const { return type_; }
  const void* data() const { return codes_.data(); }
  const Extents& shape() const { return shape_; }
  py::array codes() const { return codes_; }  // read-only
  PanelCache& cache() const { return *cache_; }
  // Sums of each output column, which `axis` of the weight counts: 0, or 1 for a transposed convolution.
  const std::vector<ColumnSum>& sums(int axis) const { return sums_[static_cast<size_t>(axis)]; }
  const ColumnSum& extreme(int axis) const { return extremes_[static_cast<size_t>(axis)]; }

 private:
  py::array codes_;
  WeightType type_;
  Extents shape_;
  std::unique_ptr<PanelCache> cache_;
  std::array<std::vector<ColumnSum>, 2> sums_;
  std::array<ColumnSum, 2> extremes_;
};

struct WeightArg {
  WeightType type;
  const void* codes;
  Extents shape;
  PanelCache* cache;
  const PackedWeight* packed;
};

// A packed weight, or a dense int8 or int16 array.
WeightArg weight_argument(const py::object& weight);

// Columns and products per column of a weight whose `axis` counts the output columns.
std::array<int64_t, 3> columns_of(const WeightArg& w, int axis);  // [outer, columns, inner]

// Accumulators for inputs in [x_lo, x_hi], x_lo <= 0 <= x_hi: their bound, and whether they stay within INT32.
AccumulatorBound bound_of_weight(const WeightArg& w, int axis, const int32_t* bias, int64_t x_lo, int64_t x_hi);
bool proven(const WeightArg& w, int axis, const int32_t* bias, int64_t x_lo, int64_t x_hi);

}  // namespace bittwin
