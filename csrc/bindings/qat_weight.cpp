// SPDX-License-Identifier: Apache-2.0
// Weights and biases of a training layer to integers, at every optimiser step.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "bindings/arrays.h"
#include "bindings/qat_bits.h"
#include "bittwin/bias.h"
#include "kernels/plain_floats.h"
#include "kernels/threads.h"

namespace bittwin {
namespace {

template <typename Code>
int64_t sum_of(const Code* codes, int64_t count) {
  int64_t total = 0;
  for (int64_t i = 0; i < count;) {  // int32 holds 2^15 codes of 16 bits
    const int64_t last = std::min(count, i + 32768);
    int32_t part = 0;
    for (; i < last; ++i) part += codes[i];
    total += part;
  }
  return total;
}

// Weights to codes; `sums` takes every output's sum of codes. Returns (found a NaN, bits of what lay inside or
// None).
py::tuple qat_weight(const py::array& real, float codes_per_unit, const std::array<int32_t, 2>& limits,
                     py::array& codes, std::optional<py::array> sums, int threads) {
  const int64_t count = real.size();
  const bool wide = weight_type(codes) == WeightType::s16;
  require(codes.size() == count, "qat: codes has the wrong size");
  require(wide ? limits[0] >= -32768 && limits[1] <= 32767 : limits[0] >= -128 && limits[1] <= 127,
          "qat: codes must hold the limits");
  QuantizeArray q{
      data_of<float>(real), count, {codes_per_unit, 0.0F, limits[0], limits[1]}, nullptr, wide, nullptr};
  q.codes = codes.mutable_data();  // one-byte codes wrap, so that the byte is an int8's
  int64_t* sum = sums ? mutable_data_of<int64_t>(*sums) : nullptr;
  const int64_t outputs = sums ? sums->size() : 0;
  require(outputs == 0 || count % outputs == 0, "qat: sums has the wrong size");
  thread_local Buffer bits;
  QuantizeOutcome outcome;
  {
    const py::gil_scoped_release release;
    const ThreadCountHere here(threads);
    q.bits = bits.reserve((count + 7) / 8 + 1);
    q.bits[(count + 7) / 8] = 0;
    outcome = quantize_array(active_kernel().loops(), q);
    for (int64_t i = 0; i < outputs; ++i) {
      const int64_t each = count / outputs;
      sum[i] = wide ? sum_of(static_cast<const int16_t*>(q.codes) + i * each, each)
                    : sum_of(static_cast<const int8_t*>(q.codes) + i * each, each);
    }
  }
  return py::make_tuple(outcome.nan, bits_array(outcome.all_inside, bits, count));
}

// Biases to the bias grid: real * scale_product, the shift's part taken out, in accumulator units.
// Returns (all are finite, bits of what lay inside or None).
py::tuple qat_bias(const py::array& real, float scale_product, const std::optional<py::array>& shift, int rows,
                   py::array& out) {
  const int64_t count = real.size();
  require(out.size() == count && (!shift || shift->size() == count), "qat: bias: sizes do not match");
  require(rows >= 1 && rows <= 1024, "qat: rows");
  const float* values = data_of<float>(real);
  const int64_t* less = shift ? data_of<int64_t>(*shift) : nullptr;
  auto* codes = mutable_data_of<int32_t>(out);
  const float lo = static_cast<float>(-128 * kBiasStep * rows);
  const float hi = static_cast<float>(127 * kBiasStep * rows);
  Buffer flags, bits;
  uint8_t* inside = flags.reserve(count + 8);
  const PlainFloats plain;
  bool finite = true;
  bool all = true;
  for (int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(values[i]);
    if (!finite) return py::make_tuple(false, py::none());
    const float units = values[i] * scale_product;
    const auto total = static_cast<float>(static_cast<double>(units) - static_cast<double>(less ? less[i] : 0));
    codes[i] = static_cast<int32_t>(quantize_bias_real(total, rows));
    inside[i] = total >= lo && total <= hi ? 1 : 0;
    all = all && inside[i] != 0;
  }
  if (!all) pack_into(inside, count, bits.reserve(count / 8 + 2));
  return py::make_tuple(true, bits_array(all, bits, count));
}

}  // namespace

void bind_qat_weight(py::module_& m) {
  m.def("qat_weight", &qat_weight, py::arg("real"), py::arg("codes_per_unit"), py::arg("limits"), py::arg("codes"),
        py::arg("sums"), py::arg("threads"));
  m.def("qat_bias", &qat_bias, py::arg("real"), py::arg("scale_product"), py::arg("shift"), py::arg("rows"),
        py::arg("out"));
}

}  // namespace bittwin
