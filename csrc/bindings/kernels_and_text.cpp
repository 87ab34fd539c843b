// SPDX-License-Identifier: Apache-2.0
// The kernel table as Python sees it, and the strict integer-text reader.
#include "bindings/arrays.h"
#include "kernels/parse_ints.h"

namespace bittwin {
namespace {

py::list kernels() {
  py::list list;
  for (const KernelSet& set : kernel_table()) {
    const char* reason = set.unavailable();
    list.append(py::make_tuple(set.name, set.description, reason == nullptr ? "" : reason));
  }
  return list;
}

py::array_t<int32_t> parse_rows(const py::buffer& data, int64_t columns, int64_t lo, int64_t hi,
                                const std::string& separators, int64_t max_rows) {
  const py::buffer_info info = data.request();
  require(info.itemsize == 1 && info.ndim == 1 && (info.size == 0 || info.strides[0] == 1),
          "parse_int_rows: buffer");
  require(lo >= INT32_MIN && hi <= INT32_MAX && max_rows >= 0 && columns >= -1, "parse_int_rows: limits");
  IntRows rows;
  {
    const py::gil_scoped_release release;
    rows = parse_int_rows(static_cast<const char*>(info.ptr), static_cast<size_t>(info.size), columns, lo, hi,
                          separators, max_rows);
  }
  py::array_t<int32_t> out({rows.rows, rows.columns});
  std::copy(rows.values.begin(), rows.values.end(), out.mutable_data());
  return out;
}

}  // namespace

void bind_kernels(py::module_& m) {
  m.def("kernels", &kernels);
  m.def("active_kernel", [] { return std::string(active_kernel().name); });
  m.def("force_kernel", &force_kernel, py::arg("name"));
}

void bind_text(py::module_& m) {
  py::register_exception<ParseError>(m, "ParseError", PyExc_ValueError);
  m.def("parse_int_rows", &parse_rows, py::arg("data"), py::arg("columns"), py::arg("lo"), py::arg("hi"),
        py::arg("separators") = ", \t", py::arg("max_rows") = INT64_MAX);
}

}  // namespace bittwin
