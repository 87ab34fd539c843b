// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"

PYBIND11_MODULE(_core, m) {
  m.doc() =
      "bittwin's kernels. Use the functions of the package; this module checks only what memory safety needs.";
  bittwin::bind_requantize(m);
  bittwin::bind_products(m);
  bittwin::bind_elementwise(m);
  bittwin::bind_qat(m);
  bittwin::bind_gradient(m);
  bittwin::bind_kernels(m);
  bittwin::bind_text(m);
  bittwin::bind_threads(m);
  bittwin::bind_program(m);
}
