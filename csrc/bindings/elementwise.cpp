// SPDX-License-Identifier: Apache-2.0
// One number in, one number out: splits, input converter, activations, quantise, bias. Each loop calls the
// contract header; there is no arithmetic here.
#include <cmath>

#include "bindings/arrays.h"
#include "bittwin/activation.h"
#include "bittwin/array_input.h"
#include "bittwin/bias.h"
#include "bittwin/rounding.h"
#include "bittwin/saturate.h"
#include "bittwin/split.h"

namespace bittwin {
namespace {

// A new array of type Y with x's shape, filled with f(x[i]).
template <typename Y, typename X, typename F>
py::array_t<Y> map(const py::array& x, F f) {
  const X* in = data_of<X>(x);
  py::array_t<Y> out(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  Y* o = out.mutable_data();
  const int64_t count = x.size();
  const py::gil_scoped_release release;
  for (int64_t i = 0; i < count; ++i) o[i] = static_cast<Y>(f(in[i]));
  return out;
}

py::tuple split(const py::array& x) {
  return py::make_tuple(map<int16_t, int16_t>(x, [](int32_t v) { return split_low(v); }),
                        map<int8_t, int16_t>(x, [](int32_t v) { return split_high(v); }));
}

py::array dac_bytes(const py::array& x, bool is_signed, bool invert, bool doubled) {
  return map<uint16_t, uint8_t>(x, [=](uint8_t b) { return dac(b, is_signed, invert, doubled); });
}

py::array relu_codes(const py::array& x, int gain) {
  require(gain == 1 || gain == 2, "relu: gain");
  return map<int32_t, int32_t>(x, [=](int32_t v) { return relu(v, gain); });
}

py::array clip_codes(const py::array& x, int limit) {
  require(limit >= 0, "clip: limit");
  return map<int32_t, int32_t>(x, [=](int32_t v) { return clip_activation(v, limit); });
}

py::array lookup_index(const py::array& x, int size) {
  require(size == 256 || size == 1024, "lookup: table size");
  return map<int32_t, int32_t>(x, [=](int32_t v) { return table_index(v, size); });
}

py::array shift_bytes(const py::array& x, bool right, int num) {
  require(num >= 0 && num <= 31, "post_adder_shift: num");
  return map<uint8_t, uint8_t>(x, [=](int32_t v) { return post_adder_shift(v, right, num); });
}

// NaN has no code: the index of the first one, or -1.
template <typename Real>
int64_t first_nan(const Real* v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (std::isnan(v[i])) return i;
  }
  return -1;
}

// Real-to-code loops share this: f on every element, in the array's own precision.
template <typename Real, typename F>
py::array_t<int32_t> quantize_with(const py::array& values, const char* what, F f) {
  const int64_t nan = first_nan(data_of<Real>(values), values.size());
  if (nan >= 0) {
    throw py::value_error(std::string(what) + ": found NaN at element " + std::to_string(nan) +
                          ", wanted real numbers (infinities saturate)");
  }
  return map<int32_t, Real>(values, f);
}

template <typename Real>
py::array quantize_real(const py::array& values, double codes_per_unit, int64_t lo, int64_t hi, int rounding) {
  const Real scale = static_cast<Real>(codes_per_unit);
  const Real low = static_cast<Real>(lo);
  const Real high = static_cast<Real>(hi);
  return quantize_with<Real>(values, "quantize: values", [=](Real v) {
    const Real scaled = v * scale;  // one rounding, in the array's own precision
    // Limited to one code beyond the ends first: a float beyond int64 has no integer part to take.
    const Real near = scaled < low - 1 ? low - 1 : scaled > high + 1 ? high + 1 : scaled;
    return saturate(round_real(near, static_cast<Rounding>(rounding)), lo, hi);
  });
}

py::array quantize(const py::array& values, double codes_per_unit, int64_t lo, int64_t hi, int rounding) {
  require(rounding >= 0 && rounding <= static_cast<int>(Rounding::ceil), "quantize: rounding");
  require(lo <= hi && lo >= -(int64_t{1} << 20) && hi <= (int64_t{1} << 20), "quantize: limits");
  if (py::isinstance<py::array_t<float>>(values))
    return quantize_real<float>(values, codes_per_unit, lo, hi, rounding);
  return quantize_real<double>(values, codes_per_unit, lo, hi, rounding);
}

template <typename Real>
py::array quantize_bias_array(const py::array& bias, double codes_per_unit, int rows) {
  const Real scale = static_cast<Real>(codes_per_unit);
  return quantize_with<Real>(bias, "quantize_bias: bias",
                             [=](Real b) { return quantize_bias_real(b * scale, rows); });
}

py::array quantize_bias(const py::array& bias, double codes_per_unit, int rows) {
  require(rows >= 1 && rows <= 1024, "quantize_bias: rows");
  if (py::isinstance<py::array_t<float>>(bias)) return quantize_bias_array<float>(bias, codes_per_unit, rows);
  if (py::isinstance<py::array_t<double>>(bias)) return quantize_bias_array<double>(bias, codes_per_unit, rows);
  return map<int32_t, int64_t>(bias, [=](int64_t b) { return quantize_bias_units(b, rows); });
}

}  // namespace

void bind_elementwise(py::module_& m) {
  m.def("split", &split, py::arg("x"));
  m.def("dac", &dac_bytes, py::arg("x"), py::arg("is_signed"), py::arg("invert"), py::arg("doubled"));
  m.def("relu", &relu_codes, py::arg("x"), py::arg("gain"));
  m.def("clip", &clip_codes, py::arg("x"), py::arg("limit"));
  m.def("lookup_index", &lookup_index, py::arg("x"), py::arg("size"));
  m.def("post_adder_shift", &shift_bytes, py::arg("x"), py::arg("right"), py::arg("num"));
  m.def("quantize", &quantize, py::arg("values"), py::arg("codes_per_unit"), py::arg("lo"), py::arg("hi"),
        py::arg("rounding"));
  m.def("quantize_bias", &quantize_bias, py::arg("bias"), py::arg("codes_per_unit"), py::arg("rows"));
}

}  // namespace bittwin
