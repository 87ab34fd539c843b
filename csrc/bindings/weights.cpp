// SPDX-License-Identifier: Apache-2.0
// Packed weights, and the proof that accumulators fit INT32.
#include "bindings/weights.h"

#include <algorithm>

namespace bittwin {
namespace {

template <typename F>
auto visit_weight(WeightType type, const void* codes, F&& f) {
  return type == WeightType::s8 ? f(static_cast<const int8_t*>(codes)) : f(static_cast<const int16_t*>(codes));
}

std::vector<ColumnSum> sums_of(const WeightArg& w, int axis) {
  const auto [outer, columns, inner] = columns_of(w, axis);
  return visit_weight(w.type, w.codes, [&, o = outer, n = columns, i = inner](const auto* codes) {
    return column_sums(codes, o, n, i);
  });
}

// Layouts for the active kernel are made now: then the first product is as fast as the others. Those of
// convolutions wait for their geometry.
void prepare_linear(const WeightArg& w) {
  const Loops* loops = active_kernel().loops();
  if (loops == nullptr || w.shape[0] == 0 || w.shape[1] == 0) return;
  Problem p;
  p.shape = linear_shape(1, w.shape[1], w.shape[0]);
  p.w_type = w.type;
  p.w = w.codes;
  w.cache->get(*loops, p, InputType::u8, geometry_for(p));
}

}  // namespace

PackedWeight::PackedWeight(const py::array& codes)
    : type_(weight_type(codes)), shape_(codes.shape(), codes.ndim()), cache_(std::make_unique<PanelCache>()) {
  require(codes.ndim() == 2 || codes.ndim() == 4, "PackedWeight: weight must have 2 or 4 axes");
  codes_ = py::array(codes.attr("copy")());
  codes_.attr("flags").attr("writeable") = false;
  const WeightArg w{type_, data(), shape_, cache_.get(), nullptr};
  for (int axis = 0; axis < (codes.ndim() == 4 ? 2 : 1); ++axis) {
    const auto at = static_cast<size_t>(axis);
    sums_[at] = sums_of(w, axis);
    for (const ColumnSum& sum : sums_[at]) {
      extremes_[at].positive = std::max(extremes_[at].positive, sum.positive);
      extremes_[at].negative = std::min(extremes_[at].negative, sum.negative);
    }
  }
  if (codes.ndim() == 2) prepare_linear(w);
}

WeightArg weight_argument(const py::object& weight) {
  const PackedWeight* packed = exactly<PackedWeight>(weight);
  if (packed != nullptr) return {packed->type(), packed->data(), packed->shape(), &packed->cache(), packed};
  require(py::isinstance<py::array>(weight), "weight must be an array or a PackedWeight");
  const auto codes = py::reinterpret_borrow<py::array>(weight);
  return {weight_type(codes), codes.data(), Extents(codes.shape(), codes.ndim()), nullptr, nullptr};
}

std::array<int64_t, 3> columns_of(const WeightArg& w, int axis) {
  require((w.shape.size() == 2 && axis == 0) || (w.shape.size() == 4 && (axis == 0 || axis == 1)),
          "bound: weight must be [n, k], [O, I, kh, kw] or (axis 1) [I, O, kh, kw]");
  if (w.shape.size() == 2) return {1, w.shape[0], w.shape[1]};
  const int64_t area = w.shape[2] * w.shape[3];
  if (axis == 0) return {1, w.shape[0], w.shape[1] * area};
  return {w.shape[0], w.shape[1], area};
}

AccumulatorBound bound_of_weight(const WeightArg& w, int axis, const int32_t* bias, int64_t x_lo, int64_t x_hi) {
  if (w.packed != nullptr) return bound_of(w.packed->sums(axis), bias, x_lo, x_hi);
  return bound_of(sums_of(w, axis), bias, x_lo, x_hi);
}

bool proven(const WeightArg& w, int axis, const int32_t* bias, int64_t x_lo, int64_t x_hi) {
  const auto [outer, columns, inner] = columns_of(w, axis);
  // Most int8 layers are too small to reach 2^31 whatever their weights are.
  const int64_t largest = w.type == WeightType::s8 ? 128 : 32768;
  const int64_t products = outer * inner;
  const ColumnSum any{products * (largest - 1), -products * largest};
  if (surely_fits(w.packed != nullptr ? w.packed->extreme(axis) : any, bias, columns, x_lo, x_hi)) return true;
  const AccumulatorBound bound = bound_of_weight(w, axis, bias, x_lo, x_hi);
  return bound.low >= INT32_MIN && bound.high <= INT32_MAX;
}

}  // namespace bittwin
