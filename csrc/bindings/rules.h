// SPDX-License-Identifier: Apache-2.0
// Requantisers as Python holds them: the rule, and what loops want of it, made once.
#pragma once

#include <utility>

#include "bindings/arrays.h"
#include "kernels/requant_plan.h"

namespace bittwin {

struct PreparedRule {
  explicit PreparedRule(Requantizer r) : rule(std::move(r)), plan(requant_plan(rule)) {}
  PreparedRule(const PreparedRule&) = delete;  // plan points to rule
  PreparedRule& operator=(const PreparedRule&) = delete;

  int64_t channels() const { return rule.channels(); }

  Requantizer rule;
  RequantPlan plan;
};

// Can the rule be a split layer's? Its two rounds have one gain and saturate once; no accumulator is refused.
inline bool goes_with(const PreparedRule& rule, const SplitRule& split) {
  return rule.channels() == 1 && rule.rule.is_f32() == (split.whole_gain > 0.0F) && !rule.plan.may_refuse &&
         rule.plan.store == Store::saturate;
}

// None, or what _core.two_stage and the like made.
template <typename T>
const T* optional_rule(py::handle h) {
  if (h.is_none()) return nullptr;
  const T* rule = exactly<T>(h);
  require(rule != nullptr, "not a rule of the wanted kind");
  return rule;
}

inline void refuse_overflow(const LshOverflow& bad) {
  if (bad.index < 0) return;
  throw py::value_error("requantize: accumulator " + std::to_string(bad.acc) + " (element " +
                        std::to_string(bad.index) + ") shifted left by lsh = " + std::to_string(bad.lsh) +
                        " leaves int32; wanted a result in -2147483648..2147483647");
}

}  // namespace bittwin
