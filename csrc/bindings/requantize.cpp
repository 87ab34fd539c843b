// SPDX-License-Identifier: Apache-2.0
// Requantizer objects and the loops that apply them.
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/rules.h"
#include "kernels/loops.h"
#include "kernels/plain_floats.h"

namespace bittwin {
namespace {

std::unique_ptr<PreparedRule> make_two_stage(const std::vector<int>& lsh, const std::vector<int64_t>& multiplier,
                                             const std::vector<int>& shift1, int rounding1, int middle,
                                             int64_t middle_lo, int64_t middle_hi, const std::vector<int>& shift2,
                                             int rounding2, int64_t zero_point, int64_t lo, int64_t hi, int store) {
  const size_t channels = lsh.size();
  require(channels >= 1 && multiplier.size() == channels && shift1.size() == channels && shift2.size() == channels,
          "requantizer: parameter lists differ in length");
  require(rounding1 >= 0 && rounding1 <= static_cast<int>(Rounding::ceil) && rounding2 >= 0 &&
              rounding2 <= static_cast<int>(Rounding::ceil),
          "requantizer: unknown rounding");
  require(middle >= 0 && middle <= 2 && store >= 0 && store <= 1 && lo <= hi && middle_lo <= middle_hi,
          "requantizer: bad limits");
  for (const int64_t v : {zero_point, lo, hi}) {
    require(v >= INT32_MIN && v <= INT32_MAX, "requantizer: zero point or limits out of int32");
  }
  Requantizer rule;
  for (size_t c = 0; c < channels; ++c) {
    require(lsh[c] >= 0 && lsh[c] <= 31 && shift1[c] >= 0 && shift1[c] <= 62 && shift2[c] >= 0 && shift2[c] <= 62,
            "requantizer: shift out of range");
    require(multiplier[c] >= INT32_MIN && multiplier[c] <= INT32_MAX, "requantizer: multiplier out of int32");
    TwoStage p;
    p.lsh = lsh[c];
    p.multiplier = static_cast<int32_t>(multiplier[c]);
    p.shift1 = shift1[c];
    p.rounding1 = static_cast<Rounding>(rounding1);
    p.middle = static_cast<Middle>(middle);
    p.middle_lo = middle_lo;
    p.middle_hi = middle_hi;
    p.shift2 = shift2[c];
    p.rounding2 = static_cast<Rounding>(rounding2);
    p.zero_point = zero_point;
    p.lo = lo;
    p.hi = hi;
    p.store = static_cast<Store>(store);
    rule.stages.push_back(p);
  }
  return std::make_unique<PreparedRule>(std::move(rule));
}

std::unique_ptr<PreparedRule> make_half_even_f32(float scale_product, float codes_per_unit, int64_t lo,
                                                 int64_t hi) {
  require(scale_product > 0.0F && codes_per_unit > 0.0F && std::isfinite(scale_product) &&
              std::isfinite(codes_per_unit) && lo <= hi,
          "half_even_f32: scales must be positive and finite");
  Requantizer rule;
  rule.stages.resize(1);
  rule.stages[0].lo = lo;
  rule.stages[0].hi = hi;
  rule.scale_product = scale_product;
  rule.codes_per_unit = codes_per_unit;
  return std::make_unique<PreparedRule>(std::move(rule));
}

// The channels of a rule as rules of their own.
std::vector<RequantPlan> plans_by_channel(const Requantizer& rule) {
  const RequantPlan all = requant_plan(rule);
  std::vector<RequantPlan> plans;
  for (const ChannelPlan& c : all.channels) {
    plans.push_back(all);
    plans.back().channels.assign(1, c);
  }
  return plans;
}

// Loops of the active kernel over the layout; the reference where it has none.
template <typename Y>
LshOverflow requantize_blocks(const int32_t* acc, const int32_t* high, Y* out, OutputType type,
                              const CodeLayout& layout, const RequantPlan& plan, const Loops* loops) {
  if (loops == nullptr) return requantize_ref(acc, high, out, layout, *plan.rule);
  constexpr int64_t kRun = 4096;
  const int64_t channels = plan.rule->channels();
  const bool rows = channels > 1 && layout.inner == 1;  // channels side by side
  const int64_t run = rows ? layout.channels : layout.inner;
  std::vector<int32_t> codes(static_cast<size_t>(std::min(kRun, std::max<int64_t>(run, 1))));
  std::vector<RequantPlan> own;  // one plan per channel where channels come in runs
  if (channels > 1 && !rows) own = plans_by_channel(*plan.rule);
  const int64_t count = layout.outer * layout.channels * layout.inner;
  for (int64_t i = 0; i < count;) {
    const int64_t in_run = i % run;
    const int64_t n = std::min(run - in_run, kRun);
    const int32_t* h = high != nullptr ? high + i : nullptr;
    const auto channel = static_cast<size_t>(own.empty() ? 0 : i / layout.inner % layout.channels);
    const bool fits =
        rows ? loops->requantize_channels(plan, in_run, acc + i, h, n, codes.data(), nullptr)
             : loops->requantize(own.empty() ? plan : own[channel], acc + i, h, n, codes.data(), nullptr);
    if (!fits) {
      const auto& stages = plan.rule->stages;
      for (int64_t k = i; k < i + n; ++k) {
        const size_t c = rows ? static_cast<size_t>(k % layout.channels) : channel;
        if (!fits_after_lsh(acc[k], stages[c].lsh)) return {k, acc[k], stages[c].lsh};
      }
    }
    loops->store({codes.data(), 1, n, n, out + i, n, type, 1.0F});
    i += n;
  }
  return {};
}

// Throws for the accumulator that acc << lsh would push out of int32; nothing is clipped silently.
void requantize_into(const py::array& acc, const std::optional<py::array>& high, py::array& out, int64_t outer,
                     int64_t channels, int64_t inner, const PreparedRule& rule) {
  const int32_t* a = data_of<int32_t>(acc);
  require(outer >= 0 && channels >= 0 && inner >= 0 && outer * channels * inner == acc.size(),
          "requantize: layout");
  require(out.size() == acc.size(), "requantize: out has another size");
  require(rule.channels() == 1 || rule.channels() == channels, "requantize: channels do not match");
  const int32_t* h = optional_s32(high, acc.size());
  const OutputType type = output_type(out);
  const Loops* loops = active_kernel().loops();
  const LshOverflow bad = visit_codes(out, [&](auto* codes) {
    const py::gil_scoped_release release;
    const PlainFloats plain;
    return requantize_blocks(a, h, codes, type, {outer, channels, inner}, rule.plan, loops);
  });
  refuse_overflow(bad);
}

SplitRule make_split(std::optional<std::pair<int64_t, int64_t>> low_limits, int log2_gain, float whole_gain,
                     int high_rounding) {
  require(log2_gain >= 0 && log2_gain <= 62, "split: gain");
  require(whole_gain == 0.0F || (whole_gain >= 1.0F && std::isfinite(whole_gain)), "split: gain");
  require(high_rounding >= 0 && high_rounding <= static_cast<int>(Rounding::ceil), "split: unknown rounding");
  SplitRule split;
  split.limit_low = low_limits.has_value();
  if (low_limits) {
    split.low_lo = low_limits->first;
    split.low_hi = low_limits->second;
    require(split.low_lo <= split.low_hi, "split: low limits");
  }
  split.log2_gain = log2_gain;
  split.whole_gain = whole_gain;
  split.high_rounding = static_cast<Rounding>(high_rounding);
  return split;
}

void split_requantize_into(const py::array& acc_low, const py::array& acc_high,
                           const std::optional<py::array>& bias_digital, py::array& out, int64_t outer,
                           int64_t channels, int64_t inner, const PreparedRule& prepared, const SplitRule& split) {
  const Requantizer& rule = prepared.rule;
  const int32_t* low = data_of<int32_t>(acc_low);
  const int32_t* high = data_of<int32_t>(acc_high);
  require(outer >= 0 && channels >= 0 && inner >= 0 && outer * channels * inner == acc_low.size(), "split: layout");
  require(acc_high.size() == acc_low.size() && out.size() == acc_low.size(), "split: sizes differ");
  require(goes_with(prepared, split), "split: the rule must be per tensor and match");
  const int32_t* digital = optional_s32(bias_digital, channels);
  visit_codes(out, [&](auto* codes) {
    const py::gil_scoped_release release;
    const PlainFloats plain;
    split_requantize_ref(low, high, digital, codes, {outer, channels, inner}, rule, split);
  });
}

}  // namespace

void bind_requantize(py::module_& m) {
  py::class_<PreparedRule>(m, "Requantizer").def_property_readonly("channels", &PreparedRule::channels);
  m.def("two_stage", &make_two_stage, py::arg("lsh"), py::arg("multiplier"), py::arg("shift1"),
        py::arg("rounding1"), py::arg("middle"), py::arg("middle_lo"), py::arg("middle_hi"), py::arg("shift2"),
        py::arg("rounding2"), py::arg("zero_point"), py::arg("lo"), py::arg("hi"), py::arg("store"));
  m.def("half_even_f32", &make_half_even_f32, py::arg("scale_product"), py::arg("codes_per_unit"), py::arg("lo"),
        py::arg("hi"));
  m.def("requantize_into", &requantize_into, py::arg("acc"), py::arg("high"), py::arg("out"), py::arg("outer"),
        py::arg("channels"), py::arg("inner"), py::arg("requantizer"));
  py::class_<SplitRule>(m, "SplitRule")
      .def(py::init(&make_split), py::arg("low_limits"), py::arg("log2_gain"), py::arg("whole_gain"),
           py::arg("high_rounding"));
  m.def("split_requantize_into", &split_requantize_into, py::arg("acc_low"), py::arg("acc_high"),
        py::arg("bias_digital"), py::arg("out"), py::arg("outer"), py::arg("channels"), py::arg("inner"),
        py::arg("requantizer"), py::arg("split"));
}

}  // namespace bittwin
