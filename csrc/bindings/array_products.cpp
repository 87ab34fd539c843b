// SPDX-License-Identifier: Apache-2.0
// Accumulators: linear, conv2d, conv_transpose2d, and the proof that they fit INT32.
#include "bindings/arrays.h"
#include "bindings/geometry.h"
#include "kernels/bound.h"

namespace bittwin {
namespace {

py::array_t<int32_t> accumulate_linear(const py::array& x, const py::array& w,
                                       const std::optional<py::array>& bias) {
  require(x.ndim() == 2 && w.ndim() == 2 && x.shape(1) == w.shape(1), "linear: shapes do not match");
  const LinearShape shape{x.shape(0), x.shape(1), w.shape(0)};
  const int32_t* b = optional_s32(bias, shape.n);
  const LinearKernel kernel =
      active_kernel().linear[static_cast<size_t>(input_type(x))][static_cast<size_t>(weight_type(w))];
  py::array_t<int32_t> acc({shape.m, shape.n});
  const void* xp = x.data();
  const void* wp = w.data();
  int32_t* out = acc.mutable_data();
  {
    const py::gil_scoped_release release;
    kernel(xp, wp, b, out, shape);
  }
  return acc;
}

py::array_t<int32_t> run_conv(ConvKernel kernel, const py::array& x, const py::array& w,
                              const std::optional<py::array>& bias, const ConvShape& s) {
  const int32_t* b = optional_s32(bias, s.out_channels);
  py::array_t<int32_t> acc({s.batch, s.out_channels, s.out_h, s.out_w});
  const void* xp = x.data();
  const void* wp = w.data();
  int32_t* out = acc.mutable_data();
  {
    const py::gil_scoped_release release;
    kernel(xp, wp, b, out, s);
  }
  return acc;
}

std::array<int64_t, 4> dimensions(const py::array& x) {
  require(x.ndim() == 4, "conv: x must be [N, C, H, W]");
  return {x.shape(0), x.shape(1), x.shape(2), x.shape(3)};
}

py::array_t<int32_t> accumulate_conv2d(const py::array& x, const py::array& w, const std::optional<py::array>& bias,
                                       const Geometry& geometry) {
  const auto& table = active_kernel().conv2d;
  return run_conv(table[static_cast<size_t>(input_type(x))][static_cast<size_t>(weight_type(w))], x, w, bias,
                  conv2d_shape(dimensions(x), w, geometry));
}

py::array_t<int32_t> accumulate_conv_transpose2d(const py::array& x, const py::array& w,
                                                 const std::optional<py::array>& bias, const Geometry& geometry) {
  const auto& table = active_kernel().conv_transpose2d;
  return run_conv(table[static_cast<size_t>(input_type(x))][static_cast<size_t>(weight_type(w))], x, w, bias,
                  conv_transpose2d_shape(dimensions(x), w, geometry));
}

py::tuple accumulator_bound(const py::array& w, const std::optional<py::array>& bias, int64_t x_lo, int64_t x_hi) {
  require(w.ndim() == 2, "accumulator_bound: weight must be [n, k]");
  require(x_lo <= 0 && x_hi >= 0 && x_lo >= -65536 && x_hi <= 65536, "accumulator_bound: x range");
  const int64_t n = w.shape(0);
  const int64_t k = w.shape(1);
  const int32_t* b = optional_s32(bias, n);
  const bool narrow = weight_type(w) == WeightType::s8;
  const void* wp = w.data();
  AccumulatorBound bound;
  {
    const py::gil_scoped_release release;
    bound = narrow ? accumulator_bound_ref(static_cast<const int8_t*>(wp), b, n, k, x_lo, x_hi)
                   : accumulator_bound_ref(static_cast<const int16_t*>(wp), b, n, k, x_lo, x_hi);
  }
  return py::make_tuple(bound.low, bound.high, bound.column);
}

}  // namespace

void bind_array_products(py::module_& m) {
  m.def("accumulate_linear", &accumulate_linear, py::arg("x"), py::arg("weight"), py::arg("bias"));
  py::class_<Geometry>(m, "Geometry")
      .def(py::init([](std::array<int64_t, 2> stride, std::array<int64_t, 4> padding,
                       std::array<int64_t, 2> dilation, std::array<int64_t, 2> output_padding,
                       int64_t groups) { return Geometry{stride, padding, dilation, output_padding, groups}; }),
           py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("output_padding"),
           py::arg("groups"));
  m.def("accumulate_conv2d", &accumulate_conv2d, py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("geometry"));
  m.def("accumulate_conv_transpose2d", &accumulate_conv_transpose2d, py::arg("x"), py::arg("weight"),
        py::arg("bias"), py::arg("geometry"));
  m.def("accumulator_bound", &accumulator_bound, py::arg("weight"), py::arg("bias"), py::arg("x_lo"),
        py::arg("x_hi"));
}

}  // namespace bittwin
