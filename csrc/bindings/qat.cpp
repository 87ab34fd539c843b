// SPDX-License-Identifier: Apache-2.0
// Training forward passes: numpy views of torch tensors in and out (the extension knows no torch).
#include "kernels/qat.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/geometry.h"
#include "bittwin/split.h"

namespace bittwin {
namespace {

template <typename T, typename Array>
Strided<T> strided(Array& a, T* data) {
  require(a.ndim() == 2 || a.ndim() == 4, "qat: wanted 2 or 4 axes");
  Strided<T> s{data, {1, 1, 1, 1}, {0, 0, 0, 0}};
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    s.shape[static_cast<size_t>(i)] = a.shape(i);
    require(a.strides(i) % static_cast<py::ssize_t>(sizeof(float)) == 0, "qat: misaligned strides");
    s.stride[static_cast<size_t>(i)] = a.strides(i) / static_cast<py::ssize_t>(sizeof(float));
  }
  return s;
}

uint8_t* optional_bits(std::optional<py::array>& bits, int64_t count) {
  if (!bits) return nullptr;
  require(bits->size() >= (count + 7) / 8, "qat: a bit array is too small");
  return mutable_data_of<uint8_t>(*bits);
}

// One layer: which kernel, on which shapes, with the accumulators of a block of images.
struct Layer {
  LinearKernel linear = nullptr;
  ConvKernel conv = nullptr;
  const void* weight = nullptr;
  ConvShape shape{};

  void run(const void* codes, const int32_t* bias, int32_t* acc, int64_t images) const {
    if (linear != nullptr) {
      linear(codes, weight, bias, acc, {images, shape.in_channels, shape.out_channels});
      return;
    }
    ConvShape s = shape;
    s.batch = images;
    conv(codes, weight, bias, acc, s);
  }
  int64_t in_size() const { return shape.in_channels * shape.in_h * shape.in_w; }
  int64_t out_size() const { return shape.out_channels * shape.out_h * shape.out_w; }
};

Layer layer_for(const std::string& op, const KernelSet& kernels, InputType input, const py::array& w,
                const ConvShape& shape) {
  const auto i = static_cast<size_t>(input);
  const auto j = static_cast<size_t>(weight_type(w));
  Layer layer;
  layer.weight = w.data();
  layer.shape = shape;
  if (op == "linear") layer.linear = kernels.linear[i][j];
  if (op == "conv2d") layer.conv = kernels.conv2d[i][j];
  if (op == "conv_transpose2d") layer.conv = kernels.conv_transpose2d[i][j];
  return layer;
}

ConvShape shape_of(const std::string& op, const py::array& w, const std::array<int64_t, 4>& x, const Geometry& g) {
  if (op == "linear") {
    require(w.ndim() == 2 && w.shape(1) == x[1], "qat: weight and x do not match");
    ConvShape s{};
    s.batch = x[0], s.in_channels = x[1], s.in_h = 1, s.in_w = 1;
    s.out_channels = w.shape(0), s.out_h = 1, s.out_w = 1;
    return s;
  }
  if (op == "conv2d") return conv2d_shape(x, w, g);
  require(op == "conv_transpose2d", "qat: unknown operator");
  return conv_transpose2d_shape(x, w, g);
}

struct Call {
  Strided<const float> x;
  Strided<float> y;
  InputRule<float> input;
  Frame frame;
  OutputRule output;
  const int32_t* bias;
  uint8_t* x_inside;
  uint8_t* y_inside;
  uint8_t* low_inside;
};

struct Outcome {
  int64_t nan_image = -1;
  bool x_inside = true, y_inside = true, low_inside = true;
};

template <typename Code>
Outcome forward(const Call& call, const Layer& layer, const Layer& part, Code* codes) {
  Outcome outcome;
  const int64_t images = call.x.shape[0];
  const int64_t block = layer.linear != nullptr ? 64 : 1;
  const bool split = call.output.split != nullptr;
  std::vector<int32_t> acc(static_cast<size_t>(std::min(block, images) * layer.out_size()));
  std::vector<int32_t> acc_high(split ? acc.size() : 0);
  std::vector<int16_t> low(split ? static_cast<size_t>(std::min(block, images) * layer.in_size()) : 0);
  std::vector<int16_t> high(low.size());
  BitWriter x_bits(call.x_inside, 0), y_bits(call.y_inside, 0), low_bits(call.low_inside, 0);
  for (int64_t first = 0; first < images; first += block) {
    const int64_t last = std::min(images, first + block);
    if (!quantize_images(call.x, first, last, call.input, call.frame, codes, x_bits)) {
      outcome.nan_image = first;
      return outcome;
    }
    const Code* own = codes + first * layer.in_size();
    if (split) {
      for (int64_t i = 0; i < (last - first) * layer.in_size(); ++i) {
        low[static_cast<size_t>(i)] = static_cast<int16_t>(split_low(own[i]));
        high[static_cast<size_t>(i)] = static_cast<int16_t>(split_high(own[i]));
      }
      part.run(low.data(), call.bias, acc.data(), last - first);
      part.run(high.data(), nullptr, acc_high.data(), last - first);
    } else {
      layer.run(own, call.bias, acc.data(), last - first);
    }
    finish_images(acc.data(), acc_high.data(), call.y, first, last, call.output, y_bits, low_bits);
  }
  outcome.x_inside = x_bits.all();
  outcome.y_inside = y_bits.all();
  outcome.low_inside = low_bits.all();
  return outcome;
}

// Returns (image with a NaN or -1, all x inside, all y inside, all low parts inside).
py::tuple qat_forward(const std::string& op, const py::array& x, const py::array& w,
                      const std::optional<py::array>& bias, const std::optional<py::array>& bias_digital,
                      const Geometry& geometry, const std::array<float, 2>& input,
                      const std::array<int32_t, 2>& limits, int32_t pad_code, const Requantizer& rule,
                      const SplitRule* split, float codes_per_unit, py::array& y, py::array& codes,
                      std::optional<py::array> x_inside, std::optional<py::array> y_inside,
                      std::optional<py::array> low_inside) {
  require(py::isinstance<py::array_t<float>>(x) && py::isinstance<py::array_t<float>>(y), "qat: wanted float32");
  require(rule.channels() == 1 && codes_per_unit > 0.0F, "qat: the rule must be per tensor");
  require(split == nullptr || rule.is_f32() == (split->whole_gain > 0.0F), "qat: split and rule do not match");
  Call call{};
  call.x = strided<const float>(x, static_cast<const float*>(x.data()));
  call.y = strided<float>(y, static_cast<float*>(y.mutable_data()));
  Geometry inner = geometry;
  std::array<int64_t, 4> coded = call.x.shape;
  if (pad_code >= 0) {  // padding is a code of its own: write it around the image; -1: plain zeros
    require(op == "conv2d", "qat: only conv2d pads with a code");
    call.frame = {geometry.padding[0], geometry.padding[1], geometry.padding[2], geometry.padding[3], pad_code};
    coded[2] += geometry.padding[0] + geometry.padding[2];
    coded[3] += geometry.padding[1] + geometry.padding[3];
    inner.padding = {0, 0, 0, 0};
  }
  const ConvShape shape = shape_of(op, w, coded, inner);
  require(call.y.shape[0] == shape.batch && call.y.shape[1] == shape.out_channels &&
              call.y.shape[2] == shape.out_h && call.y.shape[3] == shape.out_w,
          "qat: y has the wrong shape");
  require(codes.size() == coded[0] * coded[1] * coded[2] * coded[3], "qat: codes has the wrong size");
  call.input = {input[0], input[1], limits[0], limits[1]};
  call.bias = optional_s32(bias, shape.out_channels);
  call.output = {&rule, split, optional_s32(bias_digital, shape.out_channels), codes_per_unit};
  call.x_inside = optional_bits(x_inside, x.size());
  call.y_inside = optional_bits(y_inside, y.size());
  call.low_inside = optional_bits(low_inside, y.size());
  const KernelSet& kernels = active_kernel();
  const InputType input_kind = input_type(codes);
  require(input_kind == InputType::u8 ? limits[0] >= 0 && limits[1] <= 255
                                      : input_kind == InputType::s16 && limits[0] >= -4095 && limits[1] <= 4095,
          "qat: codes must be uint8 or int16 and hold the limits");
  const Layer layer = layer_for(op, kernels, input_kind, w, shape);
  const Layer part = layer_for(op, kernels, InputType::s16, w, shape);
  Outcome outcome;
  if (input_kind == InputType::u8) {
    uint8_t* c = mutable_data_of<uint8_t>(codes);
    const py::gil_scoped_release release;
    outcome = forward(call, layer, part, c);
  } else {
    int16_t* c = mutable_data_of<int16_t>(codes);
    const py::gil_scoped_release release;
    outcome = forward(call, layer, part, c);
  }
  return py::make_tuple(outcome.nan_image, outcome.x_inside, outcome.y_inside, outcome.low_inside);
}

// The first half alone: codes of x, with one bit `inside` per input. Returns (image with a NaN or -1, all inside).
py::tuple qat_quantize(const py::array& x, const std::array<float, 2>& input, const std::array<int32_t, 2>& limits,
                       py::array& codes, std::optional<py::array> x_inside) {
  require(py::isinstance<py::array_t<float>>(x) && codes.size() == x.size(),
          "qat: wanted float32 and as many codes");
  const Strided<const float> view = strided<const float>(x, static_cast<const float*>(x.data()));
  const InputRule<float> rule{input[0], input[1], limits[0], limits[1]};
  BitWriter bits(optional_bits(x_inside, x.size()), 0);
  int64_t nan_image = -1;
  const auto each = [&](auto* c) {
    for (int64_t n = 0; n < view.shape[0] && nan_image < 0; ++n) {
      if (!quantize_images(view, n, n + 1, rule, Frame{}, c, bits)) nan_image = n;
    }
  };
  if (py::isinstance<py::array_t<uint8_t>>(codes)) {
    require(limits[0] >= 0 && limits[1] <= 255, "qat: limits");
    each(mutable_data_of<uint8_t>(codes));
  } else {
    each(mutable_data_of<int16_t>(codes));
  }
  return py::make_tuple(nan_image, bits.all());
}

// The second half alone: accumulators, perhaps disturbed by noise, to real values. Returns (all y inside, all low).
py::tuple qat_finish(const py::array& acc, const std::optional<py::array>& acc_high,
                     const std::optional<py::array>& bias_digital, const Requantizer& rule, const SplitRule* split,
                     float codes_per_unit, py::array& y, std::optional<py::array> y_inside,
                     std::optional<py::array> low_inside) {
  require(py::isinstance<py::array_t<float>>(y) && acc.size() == y.size(), "qat: wanted float32 of acc's size");
  require(rule.channels() == 1 && codes_per_unit > 0.0F, "qat: the rule must be per tensor");
  require((split != nullptr) == acc_high.has_value(), "qat: a split layer has two accumulators");
  require(split == nullptr || rule.is_f32() == (split->whole_gain > 0.0F), "qat: split and rule do not match");
  const Strided<float> view = strided<float>(y, static_cast<float*>(y.mutable_data()));
  const OutputRule output{&rule, split, optional_s32(bias_digital, view.shape[1]), codes_per_unit};
  BitWriter bits(optional_bits(y_inside, y.size()), 0);
  BitWriter low_bits(optional_bits(low_inside, y.size()), 0);
  finish_images(data_of<int32_t>(acc), optional_s32(acc_high, acc.size()), view, 0, view.shape[0], output, bits,
                low_bits);
  return py::make_tuple(bits.all(), low_bits.all());
}

}  // namespace

void bind_qat(py::module_& m) {
  m.def("qat_quantize", &qat_quantize, py::arg("x"), py::arg("input"), py::arg("limits"), py::arg("codes"),
        py::arg("x_inside"));
  m.def("qat_finish", &qat_finish, py::arg("acc"), py::arg("acc_high"), py::arg("bias_digital"),
        py::arg("requantizer"), py::arg("split"), py::arg("codes_per_unit"), py::arg("y"), py::arg("y_inside"),
        py::arg("low_inside"));
  m.def("qat_forward", &qat_forward, py::arg("op"), py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("bias_digital"), py::arg("geometry"), py::arg("input"), py::arg("limits"), py::arg("pad_code"),
        py::arg("requantizer"), py::arg("split"), py::arg("codes_per_unit"), py::arg("y"), py::arg("codes"),
        py::arg("x_inside"), py::arg("y_inside"), py::arg("low_inside"));
}

}  // namespace bittwin
