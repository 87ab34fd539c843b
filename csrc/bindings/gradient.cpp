// SPDX-License-Identifier: Apache-2.0
// Passes over torch's memory for backward passes. torch tensors come as addresses: a numpy view of each would cost
// more than the work on a small layer. bittwin.nn makes every buffer from the same shapes; nothing else calls
// these.
#include "kernels/gradient.h"

#include <array>
#include <cstring>
#include <string>

#include "bindings/arrays.h"
#include "bindings/memory.h"
#include "kernels/threads.h"

namespace bittwin {
namespace {

void code_values_at(uintptr_t codes, int item, bool is_signed, int64_t count, float shift, float codes_per_unit,
                    uintptr_t out, bool bfloat16, int threads) {
  require(count == 0 || (codes != 0 && out != 0), "code_values: no memory");
  require(item == 2 ? is_signed : item == 1, "code_values: codes are uint8, int8 or int16");
  const CodeType type = item == 2 ? CodeType::s16 : is_signed ? CodeType::s8 : CodeType::u8;
  const CodeValues v{memory<const void>(codes), type, count, shift, codes_per_unit, memory<void>(out), bfloat16};
  const py::gil_scoped_release release;
  const ThreadCountHere here(threads);
  code_values(active_kernel().loops(), v);
}

void keep_where_at(uintptr_t from, uintptr_t bits, int64_t count, uintptr_t to, bool bfloat16, int threads) {
  require(count == 0 || (from != 0 && to != 0), "keep_where: no memory");
  const KeepWhere k{memory<const float>(from), memory<const uint8_t>(bits), count, memory<void>(to), bfloat16};
  const py::gil_scoped_release release;
  const ThreadCountHere here(threads);
  keep_where(active_kernel().loops(), k);
}

// sizes: rows, inputs, outputs. numbers: shift, codes per unit of x and of w. Bits and gradients may be 0.
void linear_gradients_at(uintptr_t gy, uintptr_t x, uintptr_t w, const std::array<int64_t, 3>& sizes,
                         const std::array<float, 3>& numbers, uintptr_t x_bits, uintptr_t y_bits, uintptr_t w_bits,
                         uintptr_t gx, uintptr_t gw, uintptr_t gb) {
  const auto [rows, inputs, outputs] = sizes;
  require(rows >= 0 && inputs >= 0 && outputs >= 0, "linear_gradients: a negative size");
  require(rows * outputs == 0 || gy != 0, "linear_gradients: no memory");
  require((rows * inputs == 0 || x != 0) && (outputs * inputs == 0 || w != 0), "linear_gradients: no memory");
  linear_gradients(
      active_kernel().loops(),
      {rows, inputs, outputs, memory<const float>(gy), memory<const uint8_t>(x), memory<const int8_t>(w),
       numbers[0], numbers[1], numbers[2], memory<const uint8_t>(x_bits), memory<const uint8_t>(y_bits),
       memory<const uint8_t>(w_bits), memory<float>(gx), memory<float>(gw), memory<float>(gb)});
}

// Every `step`-th of `count` float32 numbers as bytes: what a cache compares.
py::bytes sample_at(uintptr_t from, int64_t count, int64_t step) {
  require(step >= 1 && (count == 0 || from != 0), "sample: no memory");
  const float* numbers = memory<const float>(from);
  std::string sample(static_cast<size_t>((count + step - 1) / step) * sizeof(float), '\0');
  char* to = sample.data();
  for (int64_t i = 0; i < count; i += step, to += sizeof(float)) std::memcpy(to, numbers + i, sizeof(float));
  return {sample};
}

}  // namespace

void bind_gradient(py::module_& m) {
  m.def("code_values", &code_values_at, py::arg("codes"), py::arg("item"), py::arg("is_signed"), py::arg("count"),
        py::arg("shift"), py::arg("codes_per_unit"), py::arg("out"), py::arg("bfloat16"), py::arg("threads"));
  m.def("keep_where", &keep_where_at, py::arg("source"), py::arg("bits"), py::arg("count"), py::arg("out"),
        py::arg("bfloat16"), py::arg("threads"));
  m.def("linear_gradients", &linear_gradients_at, py::arg("gy"), py::arg("x"), py::arg("w"), py::arg("sizes"),
        py::arg("numbers"), py::arg("x_bits"), py::arg("y_bits"), py::arg("w_bits"), py::arg("gx"), py::arg("gw"),
        py::arg("gb"));
  m.def("sample", &sample_at, py::arg("source"), py::arg("count"), py::arg("step"));
}

}  // namespace bittwin
