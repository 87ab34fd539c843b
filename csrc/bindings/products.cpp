// SPDX-License-Identifier: Apache-2.0
// Products: linear, conv2d, conv_transpose2d, each as bare accumulators or finished to output codes.
#include "bindings/products.h"

#include "bindings/geometry.h"

namespace bittwin {

namespace {

// What becomes of the accumulators, as Python says it.
struct FinishArgs {
  const PreparedRule* rule;
  const std::optional<py::array>& high;
  const SplitRule* split;
  const std::optional<py::array>& bias_digital;
};

Finish finish_for(const FinishArgs& args, int64_t channels, py::array& out) {
  Finish f{};
  f.type = output_type(out);
  require_dense(out);
  f.out = out.mutable_data();
  require(args.rule != nullptr || f.type == OutputType::s32, "accumulators are int32");
  require(args.rule != nullptr || (!args.high && args.split == nullptr), "accumulators take no digital part");
  if (args.rule == nullptr) return f;
  f.plan = &args.rule->plan;
  require(args.rule->channels() == 1 || args.rule->channels() == channels, "requantizer: channels do not match");
  f.high = optional_s32(args.high, out.size());
  f.split = args.split;
  f.bias_digital = optional_s32(args.bias_digital, channels);
  require(f.split == nullptr || (goes_with(*args.rule, *f.split) && !args.high),
          "split: the rule must be per tensor and match");
  return f;
}

Problem problem_for(Op op, const ConvShape& shape, const py::array& x, const WeightArg& w,
                    const std::optional<py::array>& bias) {
  Problem p{};
  p.op = op;
  p.shape = shape;
  p.x_type = input_type(x);
  p.x = x.data();
  p.w_type = w.type;
  p.w = w.codes;
  p.cache = w.cache;
  p.bias = optional_s32(bias, shape.out_channels);
  return p;
}

void linear(const py::array& x, const py::object& weight, const std::optional<py::array>& bias, py::handle rule,
            const std::optional<py::array>& high, py::handle split, const std::optional<py::array>& bias_digital,
            py::array& out) {
  const WeightArg w = weight_argument(weight);
  require(w.shape.size() == 2 && x.ndim() >= 1 && x.shape(x.ndim() - 1) == w.shape[1],
          "linear: shapes do not match");
  int64_t rows = 1;
  for (py::ssize_t i = 0; i + 1 < x.ndim(); ++i) rows *= x.shape(i);
  require(out.size() == rows * w.shape[0], "linear: out has another size");
  const Problem p = problem_for(Op::linear, linear_shape(rows, w.shape[1], w.shape[0]), x, w, bias);
  run_problem(p,
              finish_for({optional_rule<PreparedRule>(rule), high, optional_rule<SplitRule>(split), bias_digital},
                         w.shape[0], out));
}

void conv(bool transposed, const py::array& x, const py::object& weight, const std::optional<py::array>& bias,
          const Geometry& geometry, bool channels_last, int32_t pad_code, py::handle rule,
          const std::optional<py::array>& high, py::handle split, const std::optional<py::array>& bias_digital,
          py::array& out) {
  const WeightArg w = weight_argument(weight);
  const std::array<int64_t, 4> size = dimensions(x, channels_last);
  const ConvShape shape =
      transposed ? conv_transpose2d_shape(size, w.shape, geometry) : conv2d_shape(size, w.shape, geometry);
  require(!transposed || pad_code == 0, "conv_transpose2d: pads with nothing");
  require(out.size() == outputs_of(shape), "conv: out has another size");
  Problem p = problem_for(transposed ? Op::conv_transpose2d : Op::conv2d, shape, x, w, bias);
  p.channels_last = channels_last;
  p.pad_code = pad_code;
  require(holds(p.x_type, pad_code), "conv: x cannot hold pad_code");
  run_problem(p,
              finish_for({optional_rule<PreparedRule>(rule), high, optional_rule<SplitRule>(split), bias_digital},
                         shape.out_channels, out));
}

// Output [N, C, H, W] of a convolution.
std::array<int64_t, 4> conv_output_shape(bool transposed, const std::array<int64_t, 4>& x,
                                         const std::vector<py::ssize_t>& weight_shape, const Geometry& g) {
  const Extents w(weight_shape.data(), static_cast<py::ssize_t>(weight_shape.size()));
  const ConvShape s = transposed ? conv_transpose2d_shape(x, w, g) : conv2d_shape(x, w, g);
  return {s.batch, s.out_channels, s.out_h, s.out_w};
}

void check_range(int64_t x_lo, int64_t x_hi) {
  require(x_lo <= 0 && x_hi >= 0 && x_lo >= -65536 && x_hi <= 65536, "accumulator_bound: x range");
}

py::tuple accumulator_bound(const py::object& weight, const std::optional<py::array>& bias, int64_t x_lo,
                            int64_t x_hi, int axis) {
  const WeightArg w = weight_argument(weight);
  check_range(x_lo, x_hi);
  const int32_t* b = optional_s32(bias, columns_of(w, axis)[1]);
  AccumulatorBound bound;
  {
    const py::gil_scoped_release release;
    bound = bound_of_weight(w, axis, b, x_lo, x_hi);
  }
  return py::make_tuple(bound.low, bound.high, bound.column);
}

bool accumulator_fits(const py::object& weight, const std::optional<py::array>& bias, int64_t x_lo, int64_t x_hi,
                      int axis) {
  const WeightArg w = weight_argument(weight);
  check_range(x_lo, x_hi);
  return proven(w, axis, optional_s32(bias, columns_of(w, axis)[1]), x_lo, x_hi);
}

}  // namespace

void bind_products(py::module_& m) {
  py::class_<PackedWeight>(m, "PackedWeight")
      .def(py::init<const py::array&>(), py::arg("codes"))
      .def_property_readonly("codes", &PackedWeight::codes);
  m.def("linear", &linear, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("requantizer"),
        py::arg("high"), py::arg("split"), py::arg("bias_digital"), py::arg("out"));
  py::class_<Geometry>(m, "Geometry")
      .def(py::init([](std::array<int64_t, 2> stride, std::array<int64_t, 4> padding,
                       std::array<int64_t, 2> dilation, std::array<int64_t, 2> output_padding,
                       int64_t groups) { return Geometry{stride, padding, dilation, output_padding, groups}; }),
           py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("output_padding"),
           py::arg("groups"));
  m.def("conv", &conv, py::arg("transposed"), py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("geometry"),
        py::arg("channels_last"), py::arg("pad_code"), py::arg("requantizer"), py::arg("high"), py::arg("split"),
        py::arg("bias_digital"), py::arg("out"));
  m.def("conv_output_shape", &conv_output_shape, py::arg("transposed"), py::arg("x_shape"), py::arg("weight_shape"),
        py::arg("geometry"));
  m.def("accumulator_bound", &accumulator_bound, py::arg("weight"), py::arg("bias"), py::arg("x_lo"),
        py::arg("x_hi"), py::arg("axis") = 0);
  m.def("accumulator_fits", &accumulator_fits, py::arg("weight"), py::arg("bias"), py::arg("x_lo"), py::arg("x_hi"),
        py::arg("axis") = 0);
  bind_products_or_none(m);
}

}  // namespace bittwin
