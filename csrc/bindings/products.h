// SPDX-License-Identifier: Apache-2.0
// What both forms of the product functions share: the checked one, and the one for plain arguments.
#pragma once

#include <array>

#include "bindings/rules.h"
#include "bindings/weights.h"
#include "kernels/problem.h"

namespace bittwin {

// [N, C, H, W] whatever the memory order.
inline std::array<int64_t, 4> dimensions(const py::array& x, bool channels_last) {
  require(x.ndim() == 4, "conv: x must have 4 axes");
  if (channels_last) return {x.shape(0), x.shape(3), x.shape(1), x.shape(2)};
  return {x.shape(0), x.shape(1), x.shape(2), x.shape(3)};
}

inline int64_t products_of(const ConvShape& s) {
  return s.batch * s.out_h * s.out_w * s.out_channels * s.in_channels / s.groups * s.kernel_h * s.kernel_w;
}

// Other Python threads run meanwhile, but for a product of a few microseconds that costs more than it brings.
inline void run_problem(const Problem& p, const Finish& f) {
  Outcome outcome;
  if (products_of(p.shape) < (1 << 18)) {
    outcome = run(active_kernel(), p, f);
  } else {
    const py::gil_scoped_release release;
    outcome = run(active_kernel(), p, f);
  }
  refuse_overflow(outcome.bad);
}

void bind_products_or_none(py::module_& m);

}  // namespace bittwin
