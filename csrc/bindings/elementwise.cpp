// SPDX-License-Identifier: Apache-2.0
// One number in, one number out: splits, input converter, activations, quantise, bias. Each loop calls the
// contract header; there is no arithmetic here.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "bindings/arrays.h"
#include "bittwin/activation.h"
#include "bittwin/array_input.h"
#include "bittwin/bias.h"
#include "bittwin/rounding.h"
#include "bittwin/saturate.h"
#include "bittwin/split.h"
#include "kernels/plain_floats.h"

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

// Calls f with a pointer to the codes of an input.
template <typename F>
void visit_input(const py::array& x, F&& f) {
  switch (input_type(x)) {
    case InputType::u8: return f(static_cast<const uint8_t*>(x.data()));
    case InputType::s8: return f(static_cast<const int8_t*>(x.data()));
    case InputType::u16: return f(static_cast<const uint16_t*>(x.data()));
    case InputType::s16: return f(static_cast<const int16_t*>(x.data()));
  }
}

// out[i] = f(x[i]) for codes of any type; Python has made sure that out's type holds the results.
template <typename F>
void map_codes(const py::array& x, py::array& out, F f) {
  require(out.size() == x.size(), "out has another size");
  const int64_t count = x.size();
  visit_input(x, [&](const auto* in) {
    visit_codes(out, [&](auto* to) {
      using Y = std::remove_pointer_t<decltype(to)>;
      const py::gil_scoped_release release;
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<Y>(f(int32_t{in[i]}));
    });
  });
}

void relu_codes(const py::array& x, int gain, py::array& out) {
  require(gain == 1 || gain == 2, "relu: gain");
  map_codes(x, out, [=](int32_t v) { return relu(v, gain); });
}

void clip_codes(const py::array& x, int limit, py::array& out) {
  require(limit >= 0, "clip: limit");
  map_codes(x, out, [=](int32_t v) { return clip_activation(v, limit); });
}

// Table and out are bytes, signed or not; x is a byte too, or the index would leave the table.
void lookup_codes(const py::array& x, const py::array& table, py::array& out) {
  const auto size = static_cast<int>(table.size());
  require(size == 256 || size == 1024, "lookup: table size");
  require_dense(table);
  require(x.itemsize() == 1 && table.itemsize() == 1 && out.itemsize() == 1, "lookup: wanted bytes");
  const auto* entries = static_cast<const int8_t*>(table.data());
  map_codes(x, out, [=](int32_t v) { return entries[table_index(v, size)]; });
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

template <typename Real>
void refuse_nan(const py::array& values, const char* what) {
  const int64_t nan = first_nan(data_of<Real>(values), values.size());
  if (nan < 0) return;
  throw py::value_error(std::string(what) + ": found NaN at element " + std::to_string(nan) +
                        ", wanted real numbers (infinities saturate)");
}

template <typename Real>
void quantize_real(const py::array& values, double codes_per_unit, int64_t lo, int64_t hi, int rounding,
                   py::array& out) {
  refuse_nan<Real>(values, "quantize: values");
  const Real scale = static_cast<Real>(codes_per_unit);
  const Real low = static_cast<Real>(lo);
  const Real high = static_cast<Real>(hi);
  const Real* v = data_of<Real>(values);
  const int64_t count = values.size();
  visit_codes(out, [&](auto* to) {
    using Y = std::remove_pointer_t<decltype(to)>;
    const py::gil_scoped_release release;
    for (int64_t i = 0; i < count; ++i) {
      const Real scaled = v[i] * scale;  // one rounding, in the array's own precision
      // Limited to one code beyond the ends first: a float beyond int64 has no integer part to take.
      const Real near = scaled < low - 1 ? low - 1 : scaled > high + 1 ? high + 1 : scaled;
      to[i] = static_cast<Y>(saturate(round_real(near, static_cast<Rounding>(rounding)), lo, hi));
    }
  });
}

// The loops of the active kernel, for what they do: half even, float32, to uint8 or within int16. False: not
// done, or there is a NaN. (They limit before they round; with whole limits that is the same.)
bool quantize_by_loops(const py::array& values, double codes_per_unit, int64_t lo, int64_t hi, py::array& out) {
  const Loops* loops = active_kernel().loops();
  const OutputType type = output_type(out);
  const bool wide = type == OutputType::s16 || type == OutputType::s8;
  if (loops == nullptr || hi > INT16_MAX || (!wide && type != OutputType::u8)) return false;
  constexpr int64_t kRun = 4096;
  int16_t narrowed[kRun];
  const float* x = data_of<float>(values);
  auto* bytes = static_cast<uint8_t*>(out.mutable_data());
  const int64_t count = values.size();
  const py::gil_scoped_release release;
  for (int64_t i = 0; i < count; i += kRun) {
    const int64_t n = std::min(kRun, count - i);
    void* codes = type == OutputType::s8 ? narrowed : static_cast<void*>(bytes + (wide ? 2 * i : i));
    const QuantizeOutcome outcome =
        loops->quantize({x + i, n, static_cast<float>(codes_per_unit), 0.0F, static_cast<int32_t>(lo),
                         static_cast<int32_t>(hi), codes, wide, nullptr});
    if (outcome.nan) return false;
    if (type != OutputType::s8) continue;
    for (int64_t j = 0; j < n; ++j) bytes[i + j] = static_cast<uint8_t>(narrowed[j]);
  }
  return true;
}

void quantize(const py::array& values, double codes_per_unit, int64_t lo, int64_t hi, int rounding,
              py::array& out) {
  require(rounding >= 0 && rounding <= static_cast<int>(Rounding::ceil), "quantize: rounding");
  require(lo <= hi && lo >= -(int64_t{1} << 20) && hi <= (int64_t{1} << 20), "quantize: limits");
  require(out.size() == values.size(), "quantize: out has another size");
  require_dense(values);
  require_dense(out);
  const PlainFloats plain;
  if (element_of(values) != Element::f32) {
    quantize_real<double>(values, codes_per_unit, lo, hi, rounding, out);
  } else if (rounding != static_cast<int>(Rounding::half_even) ||
             !quantize_by_loops(values, codes_per_unit, lo, hi, out)) {
    quantize_real<float>(values, codes_per_unit, lo, hi, rounding, out);
  }
}

template <typename Real>
py::array quantize_bias_array(const py::array& bias, double codes_per_unit, int rows) {
  const Real scale = static_cast<Real>(codes_per_unit);
  refuse_nan<Real>(bias, "quantize_bias: bias");
  return map<int32_t, Real>(bias, [=](Real b) { return quantize_bias_real(b * scale, rows); });
}

py::array quantize_bias(const py::array& bias, double codes_per_unit, int rows) {
  require(rows >= 1 && rows <= 1024, "quantize_bias: rows");
  const PlainFloats plain;
  if (element_of(bias) == Element::f32) return quantize_bias_array<float>(bias, codes_per_unit, rows);
  if (element_of(bias) == Element::f64) return quantize_bias_array<double>(bias, codes_per_unit, rows);
  return map<int32_t, int64_t>(bias, [=](int64_t b) { return quantize_bias_units(b, rows); });
}

}  // namespace

void bind_elementwise(py::module_& m) {
  m.def("split", &split, py::arg("x"));
  m.def("dac", &dac_bytes, py::arg("x"), py::arg("is_signed"), py::arg("invert"), py::arg("doubled"));
  m.def("relu", &relu_codes, py::arg("x"), py::arg("gain"), py::arg("out"));
  m.def("clip", &clip_codes, py::arg("x"), py::arg("limit"), py::arg("out"));
  m.def("lookup", &lookup_codes, py::arg("x"), py::arg("table"), py::arg("out"));
  m.def("lookup_index", &lookup_index, py::arg("x"), py::arg("size"));
  m.def("post_adder_shift", &shift_bytes, py::arg("x"), py::arg("right"), py::arg("num"));
  m.def("quantize", &quantize, py::arg("values"), py::arg("codes_per_unit"), py::arg("lo"), py::arg("hi"),
        py::arg("rounding"), py::arg("out"));
  m.def("quantize_bias", &quantize_bias, py::arg("bias"), py::arg("codes_per_unit"), py::arg("rows"));
}

}  // namespace bittwin
