// SPDX-License-Identifier: Apache-2.0
// Accumulators: linear, conv2d, conv_transpose2d, and the proof that they fit INT32.
#include "bindings/arrays.h"
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

struct Geometry {
  std::array<int64_t, 2> stride, dilation;
  std::array<int64_t, 4> padding;  // top, left, bottom, right
};

bool usable(const Geometry& g) {
  bool ok = true;
  for (const int64_t v : g.stride) ok = ok && v >= 1;
  for (const int64_t v : g.dilation) ok = ok && v >= 1;
  for (const int64_t v : g.padding) ok = ok && v >= 0;
  return ok;
}

py::array_t<int32_t> run_conv(ConvKernel kernel, const py::array& x, const py::array& w,
                              const std::optional<py::array>& bias, const ConvShape& s) {
  require(s.out_h >= 0 && s.out_w >= 0, "conv: the output has a negative size");
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

py::array_t<int32_t> accumulate_conv2d(const py::array& x, const py::array& w, const std::optional<py::array>& bias,
                                       std::array<int64_t, 2> stride, std::array<int64_t, 4> padding,
                                       std::array<int64_t, 2> dilation, int64_t groups) {
  require(x.ndim() == 4 && w.ndim() == 4 && usable({stride, dilation, padding}), "conv2d: bad geometry");
  require(groups >= 1 && x.shape(1) == w.shape(1) * groups && w.shape(0) % groups == 0, "conv2d: bad groups");
  require(w.shape(2) >= 1 && w.shape(3) >= 1, "conv2d: empty kernel");
  ConvShape s{};
  s.batch = x.shape(0), s.in_channels = x.shape(1), s.in_h = x.shape(2), s.in_w = x.shape(3);
  s.out_channels = w.shape(0), s.kernel_h = w.shape(2), s.kernel_w = w.shape(3);
  s.stride_h = stride[0], s.stride_w = stride[1], s.pad_top = padding[0], s.pad_left = padding[1];
  s.dilation_h = dilation[0], s.dilation_w = dilation[1], s.groups = groups;
  const int64_t span_h = s.in_h + padding[0] + padding[2] - (s.kernel_h - 1) * s.dilation_h - 1;
  const int64_t span_w = s.in_w + padding[1] + padding[3] - (s.kernel_w - 1) * s.dilation_w - 1;
  require(span_h >= 0 && span_w >= 0, "conv2d: the kernel is larger than the padded input");
  s.out_h = span_h / s.stride_h + 1;
  s.out_w = span_w / s.stride_w + 1;
  const auto& table = active_kernel().conv2d;
  return run_conv(table[static_cast<size_t>(input_type(x))][static_cast<size_t>(weight_type(w))], x, w, bias, s);
}

py::array_t<int32_t> accumulate_conv_transpose2d(const py::array& x, const py::array& w,
                                                 const std::optional<py::array>& bias,
                                                 std::array<int64_t, 2> stride, std::array<int64_t, 4> padding,
                                                 std::array<int64_t, 2> output_padding,
                                                 std::array<int64_t, 2> dilation) {
  require(x.ndim() == 4 && w.ndim() == 4 && usable({stride, dilation, padding}), "conv_transpose2d: bad geometry");
  require(x.shape(1) == w.shape(0) && output_padding[0] >= 0 && output_padding[1] >= 0,
          "conv_transpose2d: shapes do not match");
  ConvShape s{};
  s.batch = x.shape(0), s.in_channels = x.shape(1), s.in_h = x.shape(2), s.in_w = x.shape(3);
  s.out_channels = w.shape(1), s.kernel_h = w.shape(2), s.kernel_w = w.shape(3);
  s.stride_h = stride[0], s.stride_w = stride[1], s.pad_top = padding[0], s.pad_left = padding[1];
  s.dilation_h = dilation[0], s.dilation_w = dilation[1], s.groups = 1;
  s.out_h =
      (s.in_h - 1) * s.stride_h + (s.kernel_h - 1) * s.dilation_h + 1 + output_padding[0] - padding[0] - padding[2];
  s.out_w =
      (s.in_w - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1 + output_padding[1] - padding[1] - padding[3];
  const auto& table = active_kernel().conv_transpose2d;
  return run_conv(table[static_cast<size_t>(input_type(x))][static_cast<size_t>(weight_type(w))], x, w, bias, s);
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
  m.def("accumulate_conv2d", &accumulate_conv2d, py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"));
  m.def("accumulate_conv_transpose2d", &accumulate_conv_transpose2d, py::arg("x"), py::arg("weight"),
        py::arg("bias"), py::arg("stride"), py::arg("padding"), py::arg("output_padding"), py::arg("dilation"));
  m.def("accumulator_bound", &accumulator_bound, py::arg("weight"), py::arg("bias"), py::arg("x_lo"),
        py::arg("x_hi"));
}

}  // namespace bittwin
