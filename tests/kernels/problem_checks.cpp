// SPDX-License-Identifier: Apache-2.0
// Whole operators: the driver on every subject's loops against the normative run_ref.
#include <cstring>
#include <memory>

#include "checks.h"
#include "kernels/panels.h"
#include "kernels/problem.h"
#include "kernels/threads.h"
#include "prng.h"
#include "random_rules.h"

namespace bittwin::test {
namespace {

// Sizes around what loops count in.
int64_t size(Prng& r, int64_t most) {
  const int64_t near[] = {1, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 70};
  const int64_t n = r.chance(50) ? r.one_of(near) : r.in(1, 70);
  return n > most ? r.in(1, most) : n;
}

ConvShape conv_shape(Prng& r, Op op) {
  ConvShape s{};
  s.groups = op == Op::conv_transpose2d || r.chance(60) ? 1 : r.in(2, 4);  // as much as there is to have
  const bool depthwise = op == Op::conv2d && r.chance(15);
  s.in_channels = s.groups * size(r, 70 / s.groups);
  s.out_channels = s.groups * size(r, 70 / s.groups);
  if (depthwise) s.in_channels = s.out_channels = s.groups = size(r, 70);
  s.batch = r.in(1, 3);
  s.kernel_h = r.in(1, 4);
  s.kernel_w = r.in(1, 4);
  s.stride_h = r.in(1, 3);
  s.stride_w = r.chance(60) ? 1 : r.in(1, 3);
  s.dilation_h = r.in(1, 2);
  s.dilation_w = r.chance(60) ? 1 : 2;
  s.pad_top = r.in(0, 2);
  s.pad_left = r.in(0, 2);
  const int64_t reach_h = (s.kernel_h - 1) * s.dilation_h + 1, reach_w = (s.kernel_w - 1) * s.dilation_w + 1;
  s.in_h = r.in(1, 9);
  s.in_w = r.in(1, r.chance(30) ? 70 : 20);
  if (op == Op::conv2d) {
    s.in_h += reach_h;
    s.in_w += reach_w;
    s.out_h = (s.in_h + s.pad_top + r.in(0, 2) - reach_h) / s.stride_h + 1;
    s.out_w = (s.in_w + s.pad_left + r.in(0, 2) - reach_w) / s.stride_w + 1;
  } else {
    s.out_h = (s.in_h - 1) * s.stride_h + reach_h - s.pad_top + r.in(0, 1);
    s.out_w = (s.in_w - 1) * s.stride_w + reach_w - s.pad_left + r.in(0, 1);
    if (s.out_h < 1) s.out_h = 1;
    if (s.out_w < 1) s.out_w = 1;
  }
  return s;
}

// An operator with all its memory.
struct Task {
  Problem p;
  Finish f;
  Requantizer rule;
  RequantPlan plan;
  SplitRule split;
  std::vector<uint16_t> x, w;
  std::vector<int32_t> bias, high, digital;
  int64_t outputs = 0;

  explicit Task(Prng& r, int64_t number) {
    const Op ops[] = {Op::linear, Op::conv2d, Op::conv_transpose2d};
    p.op = ops[number % 3];
    p.shape = p.op == Op::linear
                  ? linear_shape(r.in(r.chance(5) ? 0 : 1, 70), r.chance(20) ? r.in(500, 700) : size(r, 70),
                                 r.in(1, 70) * (r.chance(10) ? 3 : 1))
                  : conv_shape(r, p.op);
    p.x_type = static_cast<InputType>(r.in(0, 3));
    p.w_type = static_cast<WeightType>(r.in(0, 1));
    p.channels_last = p.op != Op::linear && r.chance(50);
    const ConvShape& s = p.shape;
    // exactly as many bytes as there are codes: reading further is an error that sanitizers see
    const int64_t inputs = s.batch * s.in_channels * s.in_h * s.in_w;
    const int64_t weights = s.in_channels * s.out_channels / s.groups * s.kernel_h * s.kernel_w;
    outputs = s.batch * s.out_channels * s.out_h * s.out_w;
    fill(r, x, inputs, p.x_type == InputType::u8 || p.x_type == InputType::s8);
    fill(r, w, weights, p.w_type == WeightType::s8);
    p.x = x.data();
    p.w = w.data();
    if (p.op == Op::conv2d && r.chance(30)) p.pad_code = p.x_type == InputType::s8 ? -5 : 100;
    if (r.chance(70)) bias = r.codes<int32_t>(s.out_channels);
    p.bias = bias.empty() ? nullptr : bias.data();
    choose_finish(r);
  }

  static void fill(Prng& r, std::vector<uint16_t>& to, int64_t count, bool bytes) {
    const std::vector<uint8_t> codes = r.codes<uint8_t>(bytes ? count : 0);
    const std::vector<uint16_t> words = r.codes<uint16_t>(bytes ? 0 : count);
    to.assign(static_cast<size_t>(bytes ? (count + 1) / 2 : count), 0);
    if (!codes.empty()) std::memcpy(to.data(), codes.data(), codes.size());
    if (!words.empty()) to = words;
  }

  void choose_finish(Prng& r) {
    if (r.chance(30)) return;  // accumulators
    const int64_t limits[][2] = {{-128, 127}, {0, 255}, {-32768, 32767}, {0, 65535}, {-32768, 65535}, {-128, 127}};
    const int64_t type = r.in(0, 5);
    f.type = static_cast<OutputType>(type);
    const ConvShape& s = p.shape;
    const bool wide = p.x_type == InputType::u16 || p.x_type == InputType::s16;
    const bool two_rounds = wide && r.chance(60);
    rule = random_rule(r, !two_rounds && r.chance(40) ? s.out_channels : 1, limits[type][0], limits[type][1]);
    if (two_rounds) rule.stages[0].lsh = 0;
    if (two_rounds) rule.stages[0].multiplier = 3;
    plan = requant_plan(rule);
    f.plan = &plan;
    if (f.type == OutputType::f32) f.codes_per_unit = 3.0F;
    if (two_rounds) {
      split.limit_low = r.chance(50);
      split.low_lo = -128;
      split.low_hi = 127;
      split.log2_gain = 10;
      split.whole_gain = rule.is_f32() ? 1000.0F : 0.0F;
      f.split = &split;
      if (r.chance(70)) digital = r.codes<int32_t>(s.out_channels);
      f.bias_digital = digital.empty() ? nullptr : digital.data();
    } else if (r.chance(30)) {
      for (int64_t i = 0; i < outputs; ++i) high.push_back(static_cast<int32_t>(r.in(-300, 300)));
      f.high = high.data();
    }
  }

  std::string text(int64_t number) const {
    const ConvShape& s = p.shape;
    std::string t = "problem " + std::to_string(number) + ": op " + std::to_string(static_cast<int>(p.op)) + " x" +
                    std::to_string(static_cast<int>(p.x_type)) + " w" + std::to_string(static_cast<int>(p.w_type)) +
                    " out" + std::to_string(static_cast<int>(f.type)) + (f.split != nullptr ? " split" : "") +
                    (p.channels_last ? " NHWC" : " NCHW") + " shape";
    for (const int64_t n :
         {s.batch, s.in_channels, s.in_h, s.in_w, s.out_channels, s.out_h, s.out_w, s.kernel_h, s.kernel_w,
          s.stride_h, s.stride_w, s.pad_top, s.pad_left, s.dilation_h, s.dilation_w, s.groups}) {
      t += " " + std::to_string(n);
    }
    return t;
  }
};

struct Result {
  std::vector<uint8_t> out, inside, low_inside;
  Outcome outcome;

  bool same(const Result& o, const Task& t) const {
    if (outcome.bad.index != o.outcome.bad.index || outcome.bad.acc != o.outcome.bad.acc) return false;
    if (outcome.bad.index >= 0) return true;  // refused: codes mean nothing
    if (t.f.plan == nullptr) return out == o.out;
    return out == o.out && inside == o.inside && low_inside == o.low_inside &&
           outcome.all_inside == o.outcome.all_inside && outcome.all_low_inside == o.outcome.all_low_inside;
  }
};

// loops == nullptr: the reference.
Result result_of(const Task& task, const Loops* loops, PanelCache* cache, bool flags) {
  const int64_t bytes = task.f.type == OutputType::s8 || task.f.type == OutputType::u8     ? 1
                        : task.f.type == OutputType::s16 || task.f.type == OutputType::u16 ? 2
                                                                                           : 4;
  Result r;
  r.out.assign(static_cast<size_t>(task.outputs * bytes), 0xA5);
  Finish f = task.f;
  f.out = r.out.data();
  if (f.plan != nullptr && flags) {
    r.inside.assign(static_cast<size_t>(task.outputs), 2);
    f.inside = r.inside.data();
    if (f.split != nullptr) r.low_inside.assign(static_cast<size_t>(task.outputs), 2);
    if (f.split != nullptr) f.low_inside = r.low_inside.data();
  }
  Problem p = task.p;
  p.cache = cache;
  r.outcome = loops != nullptr ? run_fast(*loops, p, f) : run_ref(p, f);
  return r;
}

// One packed weight for inputs of every type: arrangements may be alike, formats are not.
void check_one_cache(const Subject& subject, Report& report) {
  Prng r(9);
  PanelCache cache;
  const std::vector<int8_t> w = r.codes<int8_t>(20 * 70);
  const std::vector<uint16_t> x = r.codes<uint16_t>(33 * 70);
  for (const InputType type : {InputType::u8, InputType::s8, InputType::u16, InputType::s16, InputType::u8}) {
    Problem p;
    p.shape = linear_shape(33, 70, 20);
    p.x_type = type;
    p.x = x.data();
    p.w = w.data();
    std::vector<int32_t> wanted(33 * 20), got(33 * 20);
    Finish f;
    f.out = wanted.data();
    run_ref(p, f);
    f.out = got.data();
    p.cache = &cache;
    run_fast(*subject.loops, p, f);
    report.expect(got == wanted, subject, "one packed weight: type " + std::to_string(static_cast<int>(type)));
  }
}

}  // namespace

void check_problems(const std::vector<Subject>& subjects, Report& report) {
  Prng r(8);
  for (int64_t number = 0; number < 420; ++number) {
    const Task task(r, number);
    const bool flags = r.chance(40);
    const Result wanted = result_of(task, nullptr, nullptr, flags);
    set_num_threads(static_cast<int>(number % 3) + 1);
    const std::string text = task.text(number);
    PanelCache cache;  // shared by all subjects, as a packed weight is
    for (const Subject& subject : subjects) {
      report.expect(result_of(task, subject.loops, nullptr, flags).same(wanted, task), subject, text);
      if (number % 4 != 0) continue;
      for (int twice = 0; twice < 2; ++twice) {
        report.expect(result_of(task, subject.loops, &cache, flags).same(wanted, task), subject, text + " packed");
      }
    }
  }
  for (const Subject& subject : subjects) check_one_cache(subject, report);
  set_num_threads(0);
}

}  // namespace bittwin::test
