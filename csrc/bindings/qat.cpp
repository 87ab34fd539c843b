// SPDX-License-Identifier: Apache-2.0
// Training forward passes: numpy views of torch tensors in and out (the extension knows no torch).
#include "kernels/qat.h"

#include <optional>
#include <string>

#include "bindings/geometry.h"
#include "bindings/rules.h"
#include "bindings/weights.h"
#include "kernels/buffer.h"

namespace bittwin {
namespace {

uint8_t* optional_bits(std::optional<py::array>& bits, int64_t count) {
  if (!bits) return nullptr;
  require(bits->size() >= (count + 7) / 8, "qat: a bit array is too small");
  return mutable_data_of<uint8_t>(*bits);
}

const float* values_of(const py::array& a) {
  return data_of<float>(a);
}

// Flags of outputs as bytes while kernels write them, as bits for the gradients.
class Flags {
 public:
  Flags(std::optional<py::array>& bits, int64_t count, Buffer& buffer)
      : bits_(optional_bits(bits, count)),
        count_(count),
        bytes_(bits_ != nullptr ? buffer.reserve(count + 8) : nullptr) {}
  uint8_t* bytes() const { return bytes_; }
  void pack(bool all) const {
    if (bits_ != nullptr && !all) pack_bits(bytes_, count_, bits_);
  }

 private:
  uint8_t* bits_;
  int64_t count_;
  uint8_t* bytes_;
};

QuantizeArray quantize_argument(const py::array& x, const std::array<float, 2>& input,
                                const std::array<int32_t, 2>& limits, py::array& codes,
                                std::optional<py::array>& x_inside) {
  require(codes.size() == x.size(), "qat: codes has the wrong size");
  QuantizeArray q{};
  q.x = values_of(x);
  q.count = x.size();
  q.rule = {input[0], input[1], limits[0], limits[1]};
  q.wide = !py::isinstance<py::array_t<uint8_t>>(codes);
  require(q.wide ? limits[0] >= -4095 && limits[1] <= 4095 : limits[0] >= 0 && limits[1] <= 255,
          "qat: codes must be uint8 or int16 and hold the limits");
  if (q.wide) {
    q.codes = mutable_data_of<int16_t>(codes);
  } else {
    q.codes = mutable_data_of<uint8_t>(codes);
  }
  q.bits = optional_bits(x_inside, x.size());
  return q;
}

Finish finish_argument(const PreparedRule& rule, const SplitRule* split, const std::optional<py::array>& digital,
                       int64_t channels, float codes_per_unit, py::array& y) {
  require(rule.channels() == 1 && codes_per_unit > 0.0F, "qat: the rule must be per tensor");
  require(split == nullptr || rule.rule.is_f32() == (split->whole_gain > 0.0F), "qat: split and rule do not match");
  Finish f{};
  f.plan = &rule.plan;
  f.split = split;
  f.bias_digital = optional_s32(digital, channels);
  f.type = OutputType::f32;
  f.out = mutable_data_of<float>(y);
  f.codes_per_unit = codes_per_unit;
  return f;
}

Problem problem_argument(const std::string& op, const py::array& x, const WeightArg& w, const Geometry& g,
                         bool channels_last) {
  Problem p{};
  p.w_type = w.type;
  p.w = w.codes;
  p.cache = w.cache;
  p.channels_last = channels_last;
  if (op == "linear") {
    require(x.ndim() == 2 && w.shape.size() == 2 && w.shape[1] == x.shape(1), "qat: weight and x do not match");
    p.op = Op::linear;
    p.shape = linear_shape(x.shape(0), x.shape(1), w.shape[0]);
    return p;
  }
  require(x.ndim() == 4, "qat: wanted 4 axes");
  std::array<int64_t, 4> size{x.shape(0), x.shape(1), x.shape(2), x.shape(3)};
  if (channels_last) size = {x.shape(0), x.shape(3), x.shape(1), x.shape(2)};
  require(op == "conv2d" || op == "conv_transpose2d", "qat: unknown operator");
  p.op = op == "conv2d" ? Op::conv2d : Op::conv_transpose2d;
  p.shape = op == "conv2d" ? conv2d_shape(size, w.shape, g) : conv_transpose2d_shape(size, w.shape, g);
  return p;
}

// Returns (found a NaN, all x inside, all y inside, all low parts inside). Bits are written only where not all are
// inside.
py::tuple qat_forward(const std::string& op, const py::array& x, const py::object& weight,
                      const std::optional<py::array>& bias, const std::optional<py::array>& bias_digital,
                      const Geometry& geometry, bool channels_last, const std::array<float, 2>& input,
                      const std::array<int32_t, 2>& limits, int32_t pad_code, const PreparedRule& rule,
                      const SplitRule* split, float codes_per_unit, py::array& y, py::array& codes,
                      std::optional<py::array> x_inside, std::optional<py::array> y_inside,
                      std::optional<py::array> low_inside) {
  const WeightArg w = weight_argument(weight);
  Problem p = problem_argument(op, x, w, geometry, channels_last);
  const ConvShape& s = p.shape;
  require(y.size() == s.batch * s.out_channels * s.out_h * s.out_w, "qat: y has the wrong shape");
  require(p.op == Op::conv2d || pad_code == 0, "qat: only conv2d pads with a code");
  QuantizeArray q = quantize_argument(x, input, limits, codes, x_inside);
  p.bias = optional_s32(bias, s.out_channels);
  p.pad_code = pad_code;
  p.x = q.codes;
  p.x_type = !q.wide ? InputType::u8 : limits[0] >= 0 ? InputType::u16 : InputType::s16;
  Finish f = finish_argument(rule, split, bias_digital, s.out_channels, codes_per_unit, y);
  thread_local Buffer y_buffer;
  thread_local Buffer low_buffer;
  const Flags y_flags(y_inside, y.size(), y_buffer);
  const Flags low_flags(low_inside, y.size(), low_buffer);
  f.inside = y_flags.bytes();
  f.low_inside = low_flags.bytes();
  QuantizeOutcome in;
  Outcome outcome;
  {
    const py::gil_scoped_release release;
    const KernelSet& kernels = active_kernel();
    in = quantize_array(kernels.loops(), q);
    if (!in.nan) {
      outcome = run(kernels, p, f);
      y_flags.pack(outcome.all_inside);
      low_flags.pack(outcome.all_low_inside);
    }
  }
  return py::make_tuple(in.nan, in.all_inside, outcome.all_inside, outcome.all_low_inside);
}

// The first half alone. Returns (found a NaN, all inside).
py::tuple qat_quantize(const py::array& x, const std::array<float, 2>& input, const std::array<int32_t, 2>& limits,
                       py::array& codes, std::optional<py::array> x_inside) {
  const QuantizeArray q = quantize_argument(x, input, limits, codes, x_inside);
  QuantizeOutcome in;
  {
    const py::gil_scoped_release release;
    in = quantize_array(active_kernel().loops(), q);
  }
  return py::make_tuple(in.nan, in.all_inside);
}

// The last third alone: accumulators, perhaps disturbed by noise, to real values. acc and y are [m, n] or
// [N, C, H, W]. Returns (all y inside, all low).
py::tuple qat_finish(const py::array& acc, const std::optional<py::array>& acc_high,
                     const std::optional<py::array>& bias_digital, const PreparedRule& rule, const SplitRule* split,
                     float codes_per_unit, py::array& y, std::optional<py::array> y_inside,
                     std::optional<py::array> low_inside) {
  require(acc.size() == y.size() && (y.ndim() == 2 || y.ndim() == 4), "qat: wanted y of acc's size");
  require((split != nullptr) == acc_high.has_value(), "qat: a split layer has two accumulators");
  Finish f = finish_argument(rule, split, bias_digital, y.shape(1), codes_per_unit, y);
  thread_local Buffer y_buffer;
  thread_local Buffer low_buffer;
  const Flags y_flags(y_inside, y.size(), y_buffer);
  const Flags low_flags(low_inside, y.size(), low_buffer);
  f.inside = y_flags.bytes();
  f.low_inside = low_flags.bytes();
  const CodeLayout layout{y.shape(0), y.shape(1), y.ndim() == 4 ? y.shape(2) * y.shape(3) : 1};
  const int32_t* low = data_of<int32_t>(acc);
  const int32_t* high = optional_s32(acc_high, acc.size());
  const Outcome outcome = finish_array(active_kernel().loops(), low, high, layout, f);
  y_flags.pack(outcome.all_inside);
  low_flags.pack(outcome.all_low_inside);
  return py::make_tuple(outcome.all_inside, outcome.all_low_inside);
}

}  // namespace

void bind_qat(py::module_& m) {
  m.def("qat_quantize", &qat_quantize, py::arg("x"), py::arg("input"), py::arg("limits"), py::arg("codes"),
        py::arg("x_inside"));
  m.def("qat_finish", &qat_finish, py::arg("acc"), py::arg("acc_high"), py::arg("bias_digital"),
        py::arg("requantizer"), py::arg("split"), py::arg("codes_per_unit"), py::arg("y"), py::arg("y_inside"),
        py::arg("low_inside"));
  m.def("qat_forward", &qat_forward, py::arg("op"), py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("bias_digital"), py::arg("geometry"), py::arg("channels_last"), py::arg("input"), py::arg("limits"),
        py::arg("pad_code"), py::arg("requantizer"), py::arg("split"), py::arg("codes_per_unit"), py::arg("y"),
        py::arg("codes"), py::arg("x_inside"), py::arg("y_inside"), py::arg("low_inside"));
}

}  // namespace bittwin
