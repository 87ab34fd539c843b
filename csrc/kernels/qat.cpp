// SPDX-License-Identifier: Apache-2.0
#include "kernels/qat.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/plain_floats.h"
#include "kernels/threads.h"

namespace bittwin {
namespace {

constexpr int64_t kRun = 4096;        // flags of a run stay in the L1 cache; a multiple of 8
constexpr int64_t kTask = 32 * kRun;  // elements worth a thread

QuantizeOutcome quantize_ref(const QuantizeRun& q, const InputRule<float>& rule) {
  QuantizeOutcome outcome;
  for (int64_t i = 0; i < q.count; ++i) {
    if (std::isnan(q.x[i])) {
      outcome.nan = true;
      continue;
    }
    const InputCode code = quantize_value(q.x[i], rule);
    if (q.wide) {
      static_cast<int16_t*>(q.codes)[i] = static_cast<int16_t>(code.code);
    } else {
      static_cast<uint8_t*>(q.codes)[i] = static_cast<uint8_t>(code.code);
    }
    if (q.inside != nullptr) q.inside[i] = code.inside ? 1 : 0;
    outcome.all_inside = outcome.all_inside && code.inside;
  }
  return outcome;
}

QuantizeOutcome quantize_part(const Loops* loops, const QuantizeArray& q, int64_t first, int64_t last) {
  QuantizeOutcome all;
  if (loops != nullptr && loops->quantize_bits != nullptr) {
    loops->quantize_bits(q, first, last, all);
    return all;
  }
  uint8_t flags[kRun];
  for (int64_t i = first; i < last; i += kRun) {
    const int64_t n = std::min(kRun, last - i);
    void* codes = static_cast<uint8_t*>(q.codes) + (q.wide ? 2 * i : i);
    QuantizeRun run{q.x + i, n, q.rule.codes_per_unit, q.rule.shift, q.rule.lo, q.rule.hi, codes, q.wide, nullptr};
    const auto quantize = [&] { return loops != nullptr ? loops->quantize(run) : quantize_ref(run, q.rule); };
    QuantizeOutcome outcome = quantize();
    all.nan = all.nan || outcome.nan;
    all.all_inside = all.all_inside && outcome.all_inside;
    if (q.bits == nullptr) continue;
    if (outcome.all_inside) {  // the common case, without a look at single flags
      std::memset(flags, 1, static_cast<size_t>(n));
    } else {
      run.inside = flags;
      quantize();
    }
    pack_bits(loops, flags, n, q.bits + i / 8);
  }
  return all;
}

}  // namespace

void pack_bits(const Loops* loops, const uint8_t* flags, int64_t count, uint8_t* bits) {
  const int64_t whole = count / 8;
  const int64_t done = loops != nullptr && loops->pack_bits != nullptr ? loops->pack_bits(flags, count, bits) : 0;
  for (int64_t i = done / 8; i < whole; ++i) {
    uint64_t eight = 0;  // flag j at bit 8 j; the factor moves it to bit 56 + j
    for (int j = 0; j < 8; ++j) eight |= static_cast<uint64_t>(flags[8 * i + j]) << (8 * j);
    bits[i] = static_cast<uint8_t>((eight * 0x0102040810204080ULL) >> 56);
  }
  if (count % 8 == 0) return;
  int last = 0;
  for (int64_t j = 8 * whole; j < count; ++j) last |= flags[j] << (j - 8 * whole);
  bits[whole] = static_cast<uint8_t>(last);
}

QuantizeOutcome quantize_array(const Loops* loops, const QuantizeArray& q) {
  const PlainFloats plain;
  const int64_t tasks = (q.count + kTask - 1) / kTask;
  std::mutex mutex;
  QuantizeOutcome all;
  parallel_for(tasks, [&](int64_t task) {
    const QuantizeOutcome one = quantize_part(loops, q, task * kTask, std::min(q.count, (task + 1) * kTask));
    const std::lock_guard<std::mutex> lock(mutex);
    all.nan = all.nan || one.nan;
    all.all_inside = all.all_inside && one.all_inside;
  });
  return all;
}

namespace {

// A run within one channel (channels == 1), or over `count` channels from channel 0 on.
struct Run {
  int64_t first, count, channel;
  bool over_channels;
};

void finish_run(const Loops& loops, const int32_t* acc, const int32_t* acc_high, const Run& run, const Finish& f,
                Outcome& outcome) {
  std::vector<int32_t> codes(static_cast<size_t>(run.count));
  std::vector<int32_t> digital;
  uint8_t* inside = f.inside != nullptr ? f.inside + run.first : nullptr;
  uint8_t* low_inside = f.low_inside != nullptr ? f.low_inside + run.first : nullptr;
  const auto n = static_cast<size_t>(run.count);
  if (f.split != nullptr) {
    digital.assign(n, f.bias_digital != nullptr && !run.over_channels ? f.bias_digital[run.channel] : 0);
    if (f.bias_digital != nullptr && run.over_channels) digital.assign(f.bias_digital, f.bias_digital + n);
    loops.split_requantize(*f.plan, *f.split, acc + run.first, acc_high + run.first, digital.data(), run.count,
                           codes.data(), inside, low_inside);
  } else {
    loops.requantize(*f.plan, acc + run.first, nullptr, run.count, codes.data(), inside);
  }
  loops.store({codes.data(), 1, run.count, run.count, static_cast<float*>(f.out) + run.first, run.count, f.type,
               f.codes_per_unit});
  for (size_t i = 0; inside != nullptr && i < n; ++i) outcome.all_inside = outcome.all_inside && inside[i] != 0;
  for (size_t i = 0; low_inside != nullptr && i < n; ++i) {
    outcome.all_low_inside = outcome.all_low_inside && low_inside[i] != 0;
  }
}

}  // namespace

Outcome finish_array(const Loops* loops, const int32_t* acc, const int32_t* acc_high, const CodeLayout& at,
                     const Finish& f) {
  const PlainFloats plain;
  if (loops == nullptr) return finish_ref(acc, acc_high, at, f);
  Outcome outcome;
  const bool over_channels = at.inner == 1;
  const int64_t length = over_channels ? at.channels : at.inner;
  const int64_t runs = length == 0 ? 0 : at.outer * at.channels * at.inner / length;
  for (int64_t i = 0; i < runs; ++i) {
    const int64_t channel = over_channels || at.channels == 0 ? 0 : i % at.channels;
    finish_run(*loops, acc, acc_high, {i * length, length, channel, over_channels}, f, outcome);
  }
  return outcome;
}

}  // namespace bittwin
