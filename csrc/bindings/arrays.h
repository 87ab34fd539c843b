// SPDX-License-Identifier: Apache-2.0
// From numpy arrays to raw pointers. Python has already checked arguments and made clear errors; these
// checks are the last line that keeps a wrong call from reading outside an array.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "kernels/kernels.h"
#include "kernels/loops.h"

namespace bittwin {

namespace py = pybind11;

inline void require(bool ok, const char* what) {
  if (!ok) throw py::value_error(std::string("bittwin._core: ") + what);
}

inline void require_dense(const py::array& a) {
  require((a.flags() & py::array::c_style) != 0, "array must be C-contiguous");
}

template <typename T>
const T* data_of(const py::array& a) {
  require(py::isinstance<py::array_t<T>>(a), "array has the wrong dtype");
  require_dense(a);
  return static_cast<const T*>(a.data());
}

template <typename T>
T* mutable_data_of(py::array& a) {
  require(py::isinstance<py::array_t<T>>(a), "array has the wrong dtype");
  require_dense(a);
  return static_cast<T*>(a.mutable_data());
}

inline const int32_t* optional_s32(const std::optional<py::array>& a, int64_t size) {
  if (!a) return nullptr;
  require(a->size() == size, "array has the wrong number of elements");
  return data_of<int32_t>(*a);
}

inline InputType input_type(const py::array& x) {
  require_dense(x);
  if (py::isinstance<py::array_t<uint8_t>>(x)) return InputType::u8;
  if (py::isinstance<py::array_t<int8_t>>(x)) return InputType::s8;
  if (py::isinstance<py::array_t<uint16_t>>(x)) return InputType::u16;
  require(py::isinstance<py::array_t<int16_t>>(x), "x must be uint8, int8, uint16 or int16");
  return InputType::s16;
}

inline WeightType weight_type(const py::array& w) {
  require_dense(w);
  if (py::isinstance<py::array_t<int8_t>>(w)) return WeightType::s8;
  require(py::isinstance<py::array_t<int16_t>>(w), "weight must be int8 or int16");
  return WeightType::s16;
}

inline OutputType output_type(const py::array& out) {
  if (py::isinstance<py::array_t<int8_t>>(out)) return OutputType::s8;
  if (py::isinstance<py::array_t<uint8_t>>(out)) return OutputType::u8;
  if (py::isinstance<py::array_t<int16_t>>(out)) return OutputType::s16;
  if (py::isinstance<py::array_t<uint16_t>>(out)) return OutputType::u16;
  if (py::isinstance<py::array_t<int32_t>>(out)) return OutputType::s32;
  require(py::isinstance<py::array_t<float>>(out), "out has the wrong dtype");
  return OutputType::f32;
}

// Calls f with a pointer to the elements of an output-code array.
template <typename F>
auto visit_codes(py::array& out, F&& f) {
  require_dense(out);
  if (py::isinstance<py::array_t<int8_t>>(out)) return f(static_cast<int8_t*>(out.mutable_data()));
  if (py::isinstance<py::array_t<uint8_t>>(out)) return f(static_cast<uint8_t*>(out.mutable_data()));
  if (py::isinstance<py::array_t<int16_t>>(out)) return f(static_cast<int16_t*>(out.mutable_data()));
  if (py::isinstance<py::array_t<uint16_t>>(out)) return f(static_cast<uint16_t*>(out.mutable_data()));
  require(py::isinstance<py::array_t<int32_t>>(out), "out has the wrong dtype");
  return f(static_cast<int32_t*>(out.mutable_data()));
}

void bind_products(py::module_& m);
void bind_requantize(py::module_& m);
void bind_elementwise(py::module_& m);
void bind_qat(py::module_& m);
void bind_kernels(py::module_& m);
void bind_text(py::module_& m);
void bind_threads(py::module_& m);

}  // namespace bittwin
