// SPDX-License-Identifier: Apache-2.0
// From numpy arrays to raw pointers. Python has already checked arguments and made clear errors; these
// checks are the last line that keeps a wrong call from reading outside an array.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <type_traits>

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

// A machine-order number type by what it is, not by C's name for it: cheaper to compare, and the same anywhere.
enum class Element : int { s8, u8, s16, u16, s32, s64, f32, f64, other };

inline Element element_of(const py::dtype& type) {
  const char order = type.byteorder();
  if (order != '=' && order != '|' && order != (PY_LITTLE_ENDIAN ? '<' : '>')) return Element::other;
  const auto size = type.itemsize();
  switch (type.kind()) {
    case 'i': return size == 1 ? Element::s8 : size == 2 ? Element::s16 : size == 4 ? Element::s32 : Element::s64;
    case 'u': return size == 1 ? Element::u8 : size == 2 ? Element::u16 : Element::other;
    case 'f': return size == 4 ? Element::f32 : size == 8 ? Element::f64 : Element::other;
    default: return Element::other;
  }
}

inline Element element_of(const py::array& a) {
  return element_of(a.dtype());
}

template <typename T>
constexpr Element element_for() {
  if constexpr (std::is_same_v<T, int8_t>) return Element::s8;
  if constexpr (std::is_same_v<T, uint8_t>) return Element::u8;
  if constexpr (std::is_same_v<T, int16_t>) return Element::s16;
  if constexpr (std::is_same_v<T, uint16_t>) return Element::u16;
  if constexpr (std::is_same_v<T, int32_t>) return Element::s32;
  if constexpr (std::is_same_v<T, int64_t>) return Element::s64;
  if constexpr (std::is_same_v<T, float>) return Element::f32;
  if constexpr (std::is_same_v<T, double>) return Element::f64;
  return Element::other;
}

template <typename T>
const T* data_of(const py::array& a) {
  static_assert(element_for<T>() != Element::other, "not an element type");
  require(element_of(a) == element_for<T>(), "array has the wrong dtype");
  require_dense(a);
  return static_cast<const T*>(a.data());
}

template <typename T>
T* mutable_data_of(py::array& a) {
  static_assert(element_for<T>() != Element::other, "not an element type");
  require(element_of(a) == element_for<T>(), "array has the wrong dtype");
  require_dense(a);
  return static_cast<T*>(a.mutable_data());
}

inline const int32_t* optional_s32(const std::optional<py::array>& a, int64_t size) {
  if (!a) return nullptr;
  require(a->size() == size, "array has the wrong number of elements");
  return data_of<int32_t>(*a);
}

inline std::optional<InputType> input_type_of(Element e) {
  switch (e) {
    case Element::u8: return InputType::u8;
    case Element::s8: return InputType::s8;
    case Element::u16: return InputType::u16;
    case Element::s16: return InputType::s16;
    default: return std::nullopt;
  }
}

inline std::optional<OutputType> output_type_of(Element e) {
  switch (e) {
    case Element::s8: return OutputType::s8;
    case Element::u8: return OutputType::u8;
    case Element::s16: return OutputType::s16;
    case Element::u16: return OutputType::u16;
    case Element::s32: return OutputType::s32;
    case Element::f32: return OutputType::f32;
    default: return std::nullopt;
  }
}

inline InputType input_type(const py::array& x) {
  require_dense(x);
  const std::optional<InputType> type = input_type_of(element_of(x));
  require(type.has_value(), "x must be uint8, int8, uint16 or int16");
  return *type;
}

// Is it a code of that type?
inline bool holds(InputType type, int64_t code) {
  switch (type) {
    case InputType::u8: return code >= 0 && code <= UINT8_MAX;
    case InputType::s8: return code >= INT8_MIN && code <= INT8_MAX;
    case InputType::u16: return code >= 0 && code <= UINT16_MAX;
    default: return code >= INT16_MIN && code <= INT16_MAX;
  }
}

inline WeightType weight_type(const py::array& w) {
  require_dense(w);
  const Element e = element_of(w);
  require(e == Element::s8 || e == Element::s16, "weight must be int8 or int16");
  return e == Element::s8 ? WeightType::s8 : WeightType::s16;
}

inline OutputType output_type(const py::array& out) {
  const std::optional<OutputType> type = output_type_of(element_of(out));
  require(type.has_value(), "out has the wrong dtype");
  return *type;
}

// A numpy array and no subclass, dense, aligned: no copy of it has to be made.
inline bool is_plain(py::handle h) {
  if (Py_TYPE(h.ptr()) != py::detail::npy_api::get().PyArray_Type_) return false;
  constexpr int kDense = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return (py::detail::array_proxy(h.ptr())->flags & kDense) == kDense;
}

// The object behind a handle, or null where it is not exactly a T. pybind11's own cast looks the type up in a table
// each time, which costs as much as a small product.
template <typename T>
T* exactly(py::handle h) {
  static PyObject* const type = py::type::of<T>().ptr();
  if (reinterpret_cast<PyObject*>(Py_TYPE(h.ptr())) != type) return nullptr;
  return static_cast<T*>(reinterpret_cast<py::detail::instance*>(h.ptr())->get_value_and_holder().value_ptr());
}

// Calls f with a pointer to the elements of an array of codes, which may hold them as float32 numbers.
template <typename F>
auto visit_codes(py::array& out, F&& f) {
  require_dense(out);
  void* data = out.mutable_data();
  switch (output_type(out)) {
    case OutputType::s8: return f(static_cast<int8_t*>(data));
    case OutputType::u8: return f(static_cast<uint8_t*>(data));
    case OutputType::s16: return f(static_cast<int16_t*>(data));
    case OutputType::u16: return f(static_cast<uint16_t*>(data));
    case OutputType::f32: return f(static_cast<float*>(data));
    default: return f(static_cast<int32_t*>(data));
  }
}

void bind_products(py::module_& m);
void bind_requantize(py::module_& m);
void bind_elementwise(py::module_& m);
void bind_qat(py::module_& m);
void bind_gradient(py::module_& m);
void bind_kernels(py::module_& m);
void bind_text(py::module_& m);
void bind_threads(py::module_& m);
void bind_program(py::module_& m);

}  // namespace bittwin
