// SPDX-License-Identifier: Apache-2.0
// The product functions of the package in one call, for arguments that are all plain: exact numpy arrays, dense,
// of the wanted shapes and dtypes, codes in their range, an accumulator that is proven to fit. For anything else
// the answer is None, nothing was written, and Python says what is wrong or makes a dense copy. So these checks
// need no messages, and a small layer costs one call.
#include <vector>

#include "bindings/products.h"

namespace bittwin {
namespace {

struct Range {
  int64_t lo, hi;
};

// Codes of a type and width: unsigned 0..2^bits - 1, signed sign and magnitude, as far as the type reaches.
Range code_range(InputType type, int bits) {
  const int64_t magnitude = (int64_t{1} << bits) - 1;
  switch (type) {
    case InputType::u8: return {0, std::min<int64_t>(magnitude, UINT8_MAX)};
    case InputType::s8: return {std::max<int64_t>(-magnitude, INT8_MIN), std::min<int64_t>(magnitude, INT8_MAX)};
    case InputType::u16: return {0, std::min<int64_t>(magnitude, UINT16_MAX)};
    default: return {std::max<int64_t>(-magnitude, INT16_MIN), std::min<int64_t>(magnitude, INT16_MAX)};
  }
}

template <typename X>
bool within(const void* codes, int64_t count, Range range) {
  constexpr int64_t least = std::numeric_limits<X>::min();
  constexpr int64_t most = std::numeric_limits<X>::max();
  if (range.lo <= least && range.hi >= most) return true;
  const X* x = static_cast<const X*>(codes);
  const X lo = static_cast<X>(std::max(range.lo, least));
  const X hi = static_cast<X>(std::min(range.hi, most));
  X low = 0;
  X high = 0;
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  return low >= lo && high <= hi;
}

bool within(InputType type, const void* codes, int64_t count, Range range) {
  switch (type) {
    case InputType::u8: return within<uint8_t>(codes, count, range);
    case InputType::s8: return within<int8_t>(codes, count, range);
    case InputType::u16: return within<uint16_t>(codes, count, range);
    default: return within<int16_t>(codes, count, range);
  }
}

struct Shape {
  py::ssize_t axes = 0;
  std::array<py::ssize_t, 32> sizes{};
};

bool same_shape(const py::array& a, const Shape& shape) {
  return a.ndim() == shape.axes && std::equal(a.shape(), a.shape() + shape.axes, shape.sizes.begin());
}

bool overlap(const void* a, int64_t a_bytes, const void* b, int64_t b_bytes) {
  const auto at = reinterpret_cast<uintptr_t>(a);
  const auto bt = reinterpret_cast<uintptr_t>(b);
  return at < bt + static_cast<uintptr_t>(b_bytes) && bt < at + static_cast<uintptr_t>(a_bytes);
}

bool overlap(const py::array& out, py::handle other) {
  if (other.is_none()) return false;
  const auto array = py::reinterpret_borrow<py::array>(other);
  return overlap(out.data(), out.nbytes(), array.data(), array.nbytes());
}

// A plain int32 array of `count` elements and, where asked, of one axis; None is nullptr. False: neither.
bool optional_plain_s32(py::handle h, int64_t count, const Shape* shape, const int32_t*& data) {
  data = nullptr;
  if (h.is_none()) return true;
  if (!is_plain(h)) return false;
  const auto array = py::reinterpret_borrow<py::array>(h);
  if (element_of(array) != Element::s32 || array.size() != count) return false;
  if (shape != nullptr ? !same_shape(array, *shape) : array.ndim() != 1) return false;
  data = static_cast<const int32_t*>(array.data());
  return true;
}

// What Python passes besides x and the geometry.
struct Request {
  py::handle weight, bias, rule, high, split, digital;
  int x_bits;
  bool prove;
  py::handle dtype, out;
};

// Fills in what linear layers and convolutions share, runs, and returns the output or None.
class Attempt {
 public:
  Attempt(Problem& problem, const Request& request) : p_(problem), r_(request) {}

  bool take_input(py::handle x) {
    if (!is_plain(x)) return false;
    x_ = py::reinterpret_borrow<py::array>(x);
    const std::optional<InputType> type = input_type_of(element_of(x_));
    if (!type) return false;
    p_.x_type = *type;
    p_.x = x_.data();
    return take_weight();
  }
  const py::array& x() const { return x_; }
  const Extents& weight_shape() const { return w_.shape; }

  py::object run(const Shape& shape) {
    Finish f;
    const py::object none = py::none();
    const int64_t count = p_.shape.batch * p_.shape.out_channels * p_.shape.out_h * p_.shape.out_w;
    if (!optional_plain_s32(r_.bias, p_.shape.out_channels, nullptr, p_.bias)) return none;
    if (!take_finish(count, shape, f) || !take_codes()) return none;
    py::array out;
    if (r_.out.is_none()) {
      out = py::array(py::reinterpret_borrow<py::dtype>(r_.dtype),
                      std::vector<py::ssize_t>(shape.sizes.begin(), shape.sizes.begin() + shape.axes));
    } else if (!take_output(shape, f, out)) {
      return none;
    }
    f.type = output_type(out);
    f.out = out.mutable_data();
    run_problem(p_, f);
    return out;
  }

 private:
  bool take_weight() {
    const PackedWeight* packed = exactly<PackedWeight>(r_.weight);
    if (packed == nullptr) {
      if (!is_plain(r_.weight)) return false;
      const Element e = element_of(py::reinterpret_borrow<py::array>(r_.weight));
      if (e != Element::s8 && e != Element::s16) return false;
    }
    w_ = weight_argument(py::reinterpret_borrow<py::object>(r_.weight));
    p_.w_type = w_.type;
    p_.w = w_.codes;
    p_.cache = w_.cache;
    return w_.shape.size() == (p_.op == Op::linear ? 2U : 4U);
  }

  bool take_finish(int64_t count, const Shape& shape, Finish& f) {
    if (r_.rule.is_none()) return r_.high.is_none() && r_.split.is_none();
    const PreparedRule* rule = exactly<PreparedRule>(r_.rule);
    if (rule == nullptr || (rule->channels() != 1 && rule->channels() != p_.shape.out_channels)) return false;
    f.plan = &rule->plan;
    if (!optional_plain_s32(r_.high, count, &shape, f.high)) return false;
    if (r_.split.is_none()) return true;
    f.split = exactly<SplitRule>(r_.split);
    return f.split != nullptr && f.high == nullptr && goes_with(*rule, *f.split) &&
           optional_plain_s32(r_.digital, p_.shape.out_channels, nullptr, f.bias_digital);
  }

  // Codes in range, accumulators proven.
  bool take_codes() {
    const bool wide = p_.x_type == InputType::u16 || p_.x_type == InputType::s16;
    const bool split = !r_.split.is_none();
    if (r_.x_bits < 0 || r_.x_bits > 16 || (split && (!wide || r_.x_bits < 9 || r_.x_bits > 12))) return false;
    const Range range = code_range(p_.x_type, r_.x_bits != 0 ? r_.x_bits : wide ? 12 : 8);
    if (p_.pad_code < range.lo || p_.pad_code > range.hi || !within(p_.x_type, p_.x, x_.size(), range))
      return false;
    if (!r_.prove) return true;
    const int axis = p_.op == Op::conv_transpose2d ? 1 : 0;
    if (!split) return proven(w_, axis, p_.bias, range.lo, range.hi);
    const int64_t high = (int64_t{1} << (r_.x_bits - 8)) - 1;
    const bool is_signed = p_.x_type == InputType::s16;
    return proven(w_, axis, p_.bias, is_signed ? -255 : 0, 255) &&
           proven(w_, axis, nullptr, is_signed ? -high : 0, high);
  }

  bool take_output(const Shape& shape, const Finish& f, py::array& out) {
    if (!is_plain(r_.out)) return false;
    out = py::reinterpret_borrow<py::array>(r_.out);
    if (!out.writeable() || !same_shape(out, shape)) return false;
    const Element e = element_of(out);
    const bool as_number =
        e == Element::f32 && f.plan != nullptr && f.plan->lo >= -(1 << 24) && f.plan->hi <= (1 << 24);
    if (e != element_of(py::reinterpret_borrow<py::dtype>(r_.dtype)) && !as_number) return false;
    const int64_t weight_bytes =
        w_.packed != nullptr ? 0
                             : py::reinterpret_borrow<py::array>(r_.weight).nbytes();  // none else has packed ones
    return !overlap(out, x_) && !overlap(out, r_.bias) && !overlap(out, r_.high) && !overlap(out, r_.digital) &&
           !overlap(out.data(), out.nbytes(), w_.codes, weight_bytes);
  }

  Problem& p_;
  const Request& r_;
  py::array x_;
  WeightArg w_{};
};

py::object linear_or_none(py::handle x, py::handle weight, py::handle bias, py::handle rule, py::handle high,
                          py::handle split, py::handle digital, int x_bits, bool prove, py::handle dtype,
                          py::handle out) {
  Problem p;
  const Request request{weight, bias, rule, high, split, digital, x_bits, prove, dtype, out};
  Attempt attempt(p, request);
  if (!attempt.take_input(x)) return py::none();
  const py::array& codes = attempt.x();
  const Extents& w = attempt.weight_shape();
  Shape shape;
  shape.axes = codes.ndim();
  if (shape.axes < 1 || shape.axes > 32 || codes.shape(shape.axes - 1) != w[1]) return py::none();
  int64_t rows = 1;
  for (py::ssize_t i = 0; i + 1 < shape.axes; ++i) rows *= shape.sizes[static_cast<size_t>(i)] = codes.shape(i);
  shape.sizes[static_cast<size_t>(shape.axes - 1)] = w[0];
  p.shape = linear_shape(rows, w[1], w[0]);
  return attempt.run(shape);
}

py::object conv_or_none(bool transposed, py::handle x, py::handle weight, py::handle bias, const Geometry& geometry,
                        bool channels_last, int32_t pad_code, py::handle rule, py::handle high, py::handle split,
                        py::handle digital, int x_bits, bool prove, py::handle dtype, py::handle out) {
  Problem p;
  p.op = transposed ? Op::conv_transpose2d : Op::conv2d;
  p.channels_last = channels_last;
  p.pad_code = pad_code;
  const Request request{weight, bias, rule, high, split, digital, x_bits, prove, dtype, out};
  Attempt attempt(p, request);
  if (!attempt.take_input(x) || attempt.x().ndim() != 4) return py::none();
  const std::array<int64_t, 4> size = dimensions(attempt.x(), channels_last);
  if (transposed && (pad_code != 0 || size[2] == 0 || size[3] == 0)) return py::none();
  try {
    p.shape = transposed ? conv_transpose2d_shape(size, attempt.weight_shape(), geometry)
                         : conv2d_shape(size, attempt.weight_shape(), geometry);
  } catch (const py::value_error&) {
    return py::none();  // Python has the words
  }
  const ConvShape& s = p.shape;
  Shape shape;
  shape.axes = 4;
  shape.sizes = {s.batch, s.out_channels, s.out_h, s.out_w};
  if (channels_last) shape.sizes = {s.batch, s.out_h, s.out_w, s.out_channels};
  return attempt.run(shape);
}

}  // namespace

void bind_products_or_none(py::module_& m) {
  m.def("linear_or_none", &linear_or_none, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("requantizer"),
        py::arg("high"), py::arg("split"), py::arg("bias_digital"), py::arg("x_bits"), py::arg("prove"),
        py::arg("dtype"), py::arg("out"));
  m.def("conv_or_none", &conv_or_none, py::arg("transposed"), py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("geometry"), py::arg("channels_last"), py::arg("pad_code"), py::arg("requantizer"), py::arg("high"),
        py::arg("split"), py::arg("bias_digital"), py::arg("x_bits"), py::arg("prove"), py::arg("dtype"),
        py::arg("out"));
}

}  // namespace bittwin
