// SPDX-License-Identifier: Apache-2.0
// Weights as Python hands them over: an array, or one packed before.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "bindings/arrays.h"
#include "kernels/panels.h"

namespace bittwin {

// A copy of weight codes that never changes, the arrangements made of it so far, and what bounds need of it.
class PackedWeight {
 public:
  explicit PackedWeight(const py::array& codes);

  WeightType type() const { return type_; }
  const void* data() const { return codes_.data(); }
  const std::vector<py::ssize_t>& shape() const { return shape_; }
  py::array codes() const;  // read-only view
  PanelCache& cache() const { return *cache_; }

 private:
  py::array codes_;
  WeightType type_;
  std::vector<py::ssize_t> shape_;
  std::unique_ptr<PanelCache> cache_;
};

struct WeightArg {
  WeightType type;
  const void* codes;
  std::vector<py::ssize_t> shape;
  PanelCache* cache;
};

// A packed weight, or a dense int8 or int16 array.
WeightArg weight_argument(const py::object& weight);

}  // namespace bittwin
