// SPDX-License-Identifier: Apache-2.0
#include "kernels/program.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "bittwin/activation.h"
#include "kernels/buffer.h"
#include "kernels/threads.h"

namespace bittwin {
namespace {

constexpr int64_t kFrames = 192;  // a block: two row blocks of the product loops

// Are all codes of the block what the layer takes? Bytes are compared as they are: a negative int8 is above 127.
bool in_range(const ProgramStep& s, const uint8_t* x, int64_t count) {
  if (!s.x_unsigned) return true;  // any int8
  const int32_t high = s.in_signed ? std::min(s.x_high, 127) : s.x_high;
  if (high >= 255) return true;
  uint8_t most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max(most, x[i]);
  return most <= high;
}

bool run_linear(const KernelSet& set, const ProgramStep& s, const uint8_t* x, int64_t frames, uint8_t* out) {
  if (!in_range(s, x, frames * s.inputs)) return false;
  Problem p = s.problem;
  p.shape = linear_shape(frames, s.inputs, s.outputs);
  p.x = x;
  p.x_type = s.x_unsigned ? InputType::u8 : InputType::s8;
  Finish f{};
  f.plan = s.plan;
  f.type = s.type;
  f.out = out;
  return run(set, p, f).bad.index < 0;
}

// Everything in locals: `out` is bytes, which might be anything's, so a loop over members would read them anew.
template <typename Code, typename F>
void map_bytes(const uint8_t* x, int64_t count, uint8_t* out, F f) {
  const auto* codes = reinterpret_cast<const Code*>(x);
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<uint8_t>(f(codes[i]));
}

template <typename Code>
void map_codes(const ProgramStep& s, const uint8_t* x, int64_t count, uint8_t* out) {
  const int32_t number = s.number;
  const uint8_t* table = s.table;
  switch (s.kind) {
    case ProgramStep::Kind::relu:
      if (number == 1) return map_bytes<Code>(x, count, out, [](Code c) { return relu(c, 1); });
      return map_bytes<Code>(x, count, out, [](Code c) { return relu(c, 2); });
    case ProgramStep::Kind::clip:
      return map_bytes<Code>(x, count, out, [=](Code c) { return clip_activation(c, number); });
    case ProgramStep::Kind::lookup:
      return map_bytes<Code>(x, count, out, [=](Code c) { return table[table_index(c, number)]; });
    case ProgramStep::Kind::linear: return;
  }
}

bool run_block(const KernelSet& set, const std::vector<ProgramStep>& steps, const uint8_t* x, int64_t frames,
               uint8_t* out) {
  thread_local Buffer buffers[2];
  const uint8_t* from = x;
  for (size_t i = 0; i < steps.size(); ++i) {
    const ProgramStep& s = steps[i];
    uint8_t* to = i + 1 == steps.size() ? out : buffers[i % 2].reserve(frames * s.outputs + 1);
    if (s.kind == ProgramStep::Kind::linear) {
      if (!run_linear(set, s, from, frames, to)) return false;
    } else {
      (s.in_signed ? map_codes<int8_t> : map_codes<uint8_t>)(s, from, frames * s.inputs, to);
    }
    from = to;
  }
  return true;
}

}  // namespace

bool run_program(const KernelSet& set, const std::vector<ProgramStep>& steps, const uint8_t* x, int64_t frames,
                 uint8_t* out) {
  if (steps.empty()) return false;
  const int64_t blocks = (frames + kFrames - 1) / kFrames;
  std::atomic<bool> good{true};
  parallel_for(blocks, [&](int64_t b) {
    const int64_t first = b * kFrames;
    const int64_t count = std::min(kFrames, frames - first);
    if (!run_block(set, steps, x + first * steps.front().inputs, count, out + first * steps.back().outputs)) {
      good = false;
    }
  });
  return good;
}

}  // namespace bittwin
