// SPDX-License-Identifier: Apache-2.0
// Training forward passes. The extension knows no torch: tensors come as addresses on the hot path (a numpy view of
// each would cost more than a small layer), as numpy views elsewhere.
#include "kernels/qat.h"

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bindings/geometry.h"
#include "bindings/memory.h"
#include "bindings/qat_bits.h"
#include "bindings/rules.h"
#include "bindings/weights.h"
#include "kernels/buffer.h"
#include "kernels/threads.h"

namespace bittwin {
namespace {

uint8_t* optional_bits(std::optional<py::array>& bits, int64_t count) {
  if (!bits) return nullptr;
  require(bits->size() >= (count + 7) / 8, "qat: a bit array is too small");
  return mutable_data_of<uint8_t>(*bits);
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
    if (bits_ != nullptr && !all) pack_bits(active_kernel().loops(), bytes_, count_, bits_);
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
  q.x = data_of<float>(x);
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
  require(split == nullptr || goes_with(rule, *split), "qat: split and rule do not match");
  Finish f{};
  f.plan = &rule.plan;
  f.split = split;
  f.bias_digital = optional_s32(digital, channels);
  f.type = OutputType::f32;
  f.out = mutable_data_of<float>(y);
  f.codes_per_unit = codes_per_unit;
  return f;
}

// [N, C, H, W] of x for a convolution, [m, k, 1, 1] for a linear layer.
using Size = std::array<int64_t, 4>;

ConvShape shape_argument(Op op, const Size& size, const WeightArg& w, const Geometry& g) {
  for (const int64_t n : size) require(n >= 0, "qat: a negative size");
  if (op == Op::conv2d) return conv2d_shape(size, w.shape, g);
  if (op == Op::conv_transpose2d) return conv_transpose2d_shape(size, w.shape, g);
  require(w.shape.size() == 2 && w.shape[1] == size[1] && size[2] == 1 && size[3] == 1,
          "qat: weight and x do not match");
  return linear_shape(size[0], size[1], w.shape[0]);
}

Op op_argument(const std::string& op) {
  require(op == "linear" || op == "conv2d" || op == "conv_transpose2d", "qat: unknown operator");
  return op == "linear" ? Op::linear : op == "conv2d" ? Op::conv2d : Op::conv_transpose2d;
}

// A layer whose integers are made: everything of its forward pass but the input. The weight codes must not change
// while it lives; they are not copied, because training makes new ones at every step.
class QatLayer {
 public:
  QatLayer(const std::string& op, py::object weight, std::optional<py::array> bias,
           std::optional<py::array> bias_digital, const Geometry& geometry, const std::array<float, 2>& input,
           const std::array<int32_t, 2>& limits, int32_t pad_code, py::object rule, const SplitRule* split,
           float codes_per_unit)
      : op_(op_argument(op)),
        weight_object_(std::move(weight)),
        weight_(weight_argument(weight_object_)),
        cache_(std::make_unique<PanelCache>()),
        bias_(std::move(bias)),
        bias_digital_(std::move(bias_digital)),
        geometry_(geometry),
        input_{input[0], input[1], limits[0], limits[1]},
        wide_(limits[0] < 0 || limits[1] > 255),
        pad_code_(pad_code),
        rule_object_(std::move(rule)),
        rule_(rule_object_.cast<const PreparedRule&>()),
        codes_per_unit_(codes_per_unit) {
    if (weight_.cache == nullptr) weight_.cache = cache_.get();
    require(limits[0] >= -4095 && limits[0] <= 0 && limits[1] >= 0 && limits[1] <= 4095, "qat: bad limits");
    require(op_ == Op::conv2d || pad_code == 0, "qat: only conv2d pads with a code");
    require(pad_code >= limits[0] && pad_code <= limits[1], "qat: pad_code is no input code");
    require(rule_.channels() == 1 && codes_per_unit > 0.0F, "qat: the rule must be per tensor");
    require(!rule_.plan.may_refuse, "qat: the rule must take every accumulator");
    if (split != nullptr) split_ = *split;
    require(!split_ || goes_with(rule_, *split_), "qat: split and rule do not match");
    const size_t outputs = op_ == Op::conv_transpose2d ? 1 : 0;
    require(weight_.shape.size() == (op_ == Op::linear ? 2U : 4U), "qat: weight has the wrong number of axes");
    channels_ = weight_.shape[outputs];
    optional_s32(bias_, channels_);
    optional_s32(bias_digital_, channels_);
  }

  // Returns (found a NaN, bits of x, y and the low codes); None where all lay inside, and without `masks`.
  // x and codes are dense, y as well, all [N, C, H, W] in memory, or all [N, H, W, C] with channels_last.
  py::tuple forward(uintptr_t x, const Size& size, bool channels_last, uintptr_t y, int64_t y_count,
                    uintptr_t codes, int codes_item, bool masks, int threads) const {
    Problem p{};
    p.op = op_;
    p.shape = shape_argument(op_, size, weight_, geometry_);
    const int64_t x_count = size[0] * size[1] * size[2] * size[3];
    require(y_count == outputs_of(p.shape), "qat: y has the wrong shape");
    require(codes_item == (wide_ ? 2 : 1), "qat: codes have the wrong dtype");
    require((x_count == 0 || (x != 0 && codes != 0)) && (y_count == 0 || y != 0), "qat: no memory");
    p.channels_last = channels_last;
    p.pad_code = pad_code_;
    p.x_type = !wide_ ? InputType::u8 : input_.lo >= 0 ? InputType::u16 : InputType::s16;
    p.x = memory<void>(codes);
    p.w_type = weight_.type;
    p.w = weight_.codes;
    p.cache = weight_.cache;
    p.bias = optional_s32(bias_, channels_);
    Finish f{};
    f.plan = &rule_.plan;
    f.split = split_ ? &*split_ : nullptr;
    f.bias_digital = optional_s32(bias_digital_, channels_);
    f.type = OutputType::f32;
    f.out = memory<void>(y);
    f.codes_per_unit = codes_per_unit_;
    thread_local Buffer x_bits, y_flags, low_flags, y_bits, low_bits;
    const bool low = masks && split_ && split_->limit_low;
    if (masks) f.inside = y_flags.reserve(y_count + 8);
    if (low) f.low_inside = low_flags.reserve(y_count + 8);
    QuantizeArray q{memory<const float>(x), x_count, input_, memory<void>(codes), wide_, nullptr};
    QuantizeOutcome in;
    Outcome outcome;
    {
      const py::gil_scoped_release release;
      const ThreadCountHere here(threads);
      if (masks) {
        q.bits = x_bits.reserve((x_count + 7) / 8 + 1);
        q.bits[(x_count + 7) / 8] = 0;
      }
      const KernelSet& kernels = active_kernel();
      in = quantize_array(kernels.loops(), q);
      if (!in.nan) outcome = run(kernels, p, f);
      if (masks && !outcome.all_inside) pack_into(f.inside, y_count, y_bits.reserve(y_count / 8 + 2));
      if (low && !outcome.all_low_inside) pack_into(f.low_inside, y_count, low_bits.reserve(y_count / 8 + 2));
    }
    return py::make_tuple(in.nan, bits_array(!masks || in.all_inside, x_bits, x_count),
                          bits_array(!masks || outcome.all_inside, y_bits, y_count),
                          bits_array(!low || outcome.all_low_inside, low_bits, y_count));
  }

 private:
  Op op_;
  py::object weight_object_;
  WeightArg weight_;
  std::unique_ptr<PanelCache> cache_;
  std::optional<py::array> bias_, bias_digital_;
  Geometry geometry_;
  InputRule<float> input_;
  bool wide_;
  int32_t pad_code_;
  py::object rule_object_;
  const PreparedRule& rule_;
  std::optional<SplitRule> split_;
  float codes_per_unit_;
  int64_t channels_ = 0;
};

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
  py::class_<QatLayer>(m, "QatLayer")
      .def(py::init<const std::string&, py::object, std::optional<py::array>, std::optional<py::array>,
                    const Geometry&, const std::array<float, 2>&, const std::array<int32_t, 2>&, int32_t,
                    py::object, const SplitRule*, float>(),
           py::arg("op"), py::arg("weight"), py::arg("bias"), py::arg("bias_digital"), py::arg("geometry"),
           py::arg("input"), py::arg("limits"), py::arg("pad_code"), py::arg("requantizer"), py::arg("split"),
           py::arg("codes_per_unit"))
      .def("forward", &QatLayer::forward, py::arg("x"), py::arg("size"), py::arg("channels_last"), py::arg("y"),
           py::arg("y_count"), py::arg("codes"), py::arg("codes_item"), py::arg("masks"), py::arg("threads"));
  bind_qat_weight(m);
}

}  // namespace bittwin
