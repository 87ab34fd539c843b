// SPDX-License-Identifier: Apache-2.0
// The loops around a product against the contract headers, element by element: every count from 0 to 70.
#include <cmath>
#include <cstring>

#include "bittwin/quantize.h"
#include "checks.h"
#include "prng.h"
#include "random_rules.h"

namespace bittwin::test {
namespace {

// One run of accumulators through one rule, and what the headers say of it.
struct Run {
  Requantizer rule;
  RequantPlan plan;
  int64_t channel0 = 0;
  std::vector<int32_t> acc, high, codes;
  std::vector<uint8_t> inside, low_inside;

  Run(Prng& r, int64_t channels, int64_t count) {
    const int64_t limits[][2] = {{-128, 127}, {0, 255}, {-32768, 32767}, {0, 65535}, {-2147483648, 2147483647}};
    const auto& limit = limits[r.in(0, 4)];
    rule = random_rule(r, channels, limit[0], limit[1]);
    plan = requant_plan(rule);
    for (int64_t i = 0; i < count; ++i) {
      acc.push_back(random_acc(r));
      high.push_back(static_cast<int32_t>(r.in(-70000, 70000)));
    }
    codes.resize(acc.size());
    inside.assign(acc.size(), 2);
    low_inside.assign(acc.size(), 2);
  }

  const TwoStage& stage(size_t i) const {
    return rule.stages[rule.stages.size() == 1 ? 0 : static_cast<size_t>(channel0) + i];
  }
  bool fits(size_t i) const { return rule.is_f32() || fits_after_lsh(acc[i], stage(i).lsh); }
  int64_t code(size_t i, int64_t h) const {
    const TwoStage& s = stage(i);
    if (rule.is_f32())
      return requantize_half_even_f32(acc[i], rule.scale_product, rule.codes_per_unit, s.lo, s.hi, h);
    return requantize(acc[i], s, h);
  }
  bool is_inside(size_t i, const TwoStage& limits) const {
    if (!rule.is_f32()) return inside_limits(acc[i], limits);
    const float v = half_even_f32_scaled(acc[i], rule.scale_product, rule.codes_per_unit);
    return v >= static_cast<float>(limits.lo) && v <= static_cast<float>(limits.hi);
  }
  // The calls of the driver, which puts codes where the accumulators were.
  bool equal(const Loops& loops, bool by_channel, bool with_high, bool with_inside) {
    codes = acc;
    const auto count = static_cast<int64_t>(acc.size());
    const int32_t* h = with_high ? high.data() : nullptr;
    uint8_t* flags = with_inside ? inside.data() : nullptr;
    const bool all_fit =
        by_channel ? loops.requantize_channels(plan, channel0, codes.data(), h, count, codes.data(), flags)
                   : loops.requantize(plan, codes.data(), h, count, codes.data(), flags);
    bool wanted = true;
    for (size_t i = 0; i < acc.size(); ++i) wanted = wanted && fits(i);
    if (all_fit != wanted) return false;
    for (size_t i = 0; wanted && i < acc.size(); ++i) {
      if (codes[i] != code(i, with_high ? high[i] : 0)) return false;
      if (with_inside && (inside[i] != 0) != is_inside(i, stage(i))) return false;
    }
    return true;
  }
};

SplitRule random_split(Prng& r, const Requantizer& rule) {
  SplitRule split;
  split.limit_low = r.chance(50);
  split.low_lo = -r.in(0, 300);
  split.low_hi = r.in(0, 300);
  split.log2_gain = static_cast<int>(r.in(0, 30));
  split.whole_gain = rule.is_f32() ? static_cast<float>(r.in(1, 40000)) : 0.0F;
  split.high_rounding = static_cast<Rounding>(r.in(0, static_cast<int64_t>(Rounding::ceil)));
  return split;
}

bool split_equal(const Loops& loops, Prng& r, Run& run) {
  const SplitRule split = random_split(r, run.rule);
  const auto count = static_cast<int64_t>(run.acc.size());
  std::vector<int32_t> digital;
  for (int64_t i = 0; i < count; ++i) digital.push_back(random_acc(r));
  run.codes = run.acc;
  loops.split_requantize(run.plan, split, run.codes.data(), run.high.data(), digital.data(), count,
                         run.codes.data(), run.inside.data(), run.low_inside.data());
  TwoStage low = run.rule.stages[0];
  low.lo = split.low_lo;
  low.hi = split.low_hi;
  for (size_t i = 0; i < run.acc.size(); ++i) {
    const int64_t sum = low_code(run.acc[i], run.rule, split) + high_code(run.high[i], digital[i], run.rule, split);
    const int64_t code = saturate(sum, run.rule.stages[0].lo, run.rule.stages[0].hi);
    const bool low_inside = !split.limit_low || run.is_inside(i, low);
    if (run.codes[i] != code || (run.inside[i] != 0) != (code == sum)) return false;
    if ((run.low_inside[i] != 0) != low_inside) return false;
  }
  return true;
}

template <typename Y>
bool store_equal(const Loops& loops, Prng& r, OutputType type) {
  const int64_t rows = r.in(0, 5), columns = r.in(0, 70), stride = columns + r.in(0, 3),
                out_stride = columns + r.in(0, 3);
  const bool real = type == OutputType::f32;
  const float codes_per_unit = real ? static_cast<float>(r.in(1, 300)) / 7.0F : 1.0F;
  std::vector<int32_t> codes(static_cast<size_t>(rows * stride));
  for (int32_t& c : codes) {
    if constexpr (sizeof(Y) < 4) {
      c = r.code<Y>();
    } else {
      c = r.code<int32_t>();
    }
  }
  const Y guard = static_cast<Y>(77);
  std::vector<Y> out(static_cast<size_t>(rows * out_stride), guard);
  loops.store({codes.data(), rows, columns, stride, out.data(), out_stride, type, codes_per_unit});
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < out_stride; ++j) {
      const int32_t code = j < columns ? codes[static_cast<size_t>(i * stride + j)] : 0;
      const Y one = real ? static_cast<Y>(static_cast<float>(code) / codes_per_unit) : static_cast<Y>(code);
      const Y wanted = j < columns ? one : guard;
      if (std::memcmp(&out[static_cast<size_t>(i * out_stride + j)], &wanted, sizeof(Y)) != 0) return false;
    }
  }
  return true;
}

template <typename Code>
bool quantize_equal(const Loops& loops, Prng& r, int64_t count) {
  const float inf = std::numeric_limits<float>::infinity();
  const float odd[] = {0.0F, -0.0F, 0.5F, 1.5F, -0.5F, 127.5F, 254.5F, 255.5F, 1e30F, -1e30F, inf, -inf, 1e-40F};
  const float factors[] = {1.0F, 255.0F, 64.0F, 0.37F, 1e-3F};
  InputRule<float> rule;
  rule.codes_per_unit = r.one_of(factors);
  rule.shift = r.chance(50) ? 0.0F : 128.0F;
  rule.lo = sizeof(Code) == 1 ? 0 : static_cast<int32_t>(-r.in(0, 32768));
  rule.hi = static_cast<int32_t>(sizeof(Code) == 1 ? r.in(15, 255) : r.in(0, 32767));
  const bool with_nan = r.chance(10);
  std::vector<float> x;
  for (int64_t i = 0; i < count; ++i) {
    x.push_back(r.chance(60) ? r.one_of(odd) : static_cast<float>(r.in(-70000, 70000)) / 128.0F);
    if (with_nan && r.chance(10)) x.back() = std::numeric_limits<float>::quiet_NaN();
  }
  std::vector<Code> codes(x.size());
  std::vector<uint8_t> inside(x.size(), 2);
  const bool with_inside = r.chance(50);
  const QuantizeOutcome outcome =
      loops.quantize({x.data(), count, rule.codes_per_unit, rule.shift, rule.lo, rule.hi, codes.data(),
                      sizeof(Code) == 2, with_inside ? inside.data() : nullptr});
  QuantizeOutcome wanted;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      wanted.nan = true;
      continue;
    }
    const InputCode code = quantize_value(x[i], rule);
    wanted.all_inside = wanted.all_inside && code.inside;
    if (codes[i] != code.code || (with_inside && (inside[i] != 0) != code.inside)) return false;
  }
  return outcome.nan == wanted.nan && outcome.all_inside == wanted.all_inside;
}

}  // namespace

void check_requantize(const Subject& subject, Report& report) {
  Prng r(6);
  for (int64_t i = 0; i < 4000; ++i) {
    const bool by_channel = r.chance(30);
    const int64_t count = i % 71;
    Run run(r, by_channel ? count + 5 : 1, count);
    if (by_channel) run.channel0 = run.rule.stages.size() > 1 ? r.in(0, 5) : 0;
    if (run.rule.is_f32() && by_channel) continue;  // those have one channel
    const bool with_high = r.chance(50), with_inside = r.chance(50);
    report.expect(run.equal(*subject.loops, by_channel, with_high, with_inside), subject,
                  "requantize: case " + std::to_string(i));
    if (by_channel || run.plan.may_refuse) continue;
    report.expect(split_equal(*subject.loops, r, run), subject, "split_requantize: case " + std::to_string(i));
  }
}

void check_store_and_quantize(const Subject& subject, Report& report) {
  Prng r(7);
  const Loops& l = *subject.loops;
  for (int64_t i = 0; i < 300; ++i) {
    const std::string which = "case " + std::to_string(i);
    report.expect(store_equal<int8_t>(l, r, OutputType::s8), subject, "store s8: " + which);
    report.expect(store_equal<uint8_t>(l, r, OutputType::u8), subject, "store u8: " + which);
    report.expect(store_equal<int16_t>(l, r, OutputType::s16), subject, "store s16: " + which);
    report.expect(store_equal<uint16_t>(l, r, OutputType::u16), subject, "store u16: " + which);
    report.expect(store_equal<int32_t>(l, r, OutputType::s32), subject, "store s32: " + which);
    report.expect(store_equal<float>(l, r, OutputType::f32), subject, "store f32: " + which);
    report.expect(quantize_equal<uint8_t>(l, r, i % 71), subject, "quantize u8: " + which);
    report.expect(quantize_equal<int16_t>(l, r, i % 71), subject, "quantize s16: " + which);
  }
}

}  // namespace bittwin::test
