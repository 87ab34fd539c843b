// SPDX-License-Identifier: Apache-2.0
#include "kernels/finish_block.h"

#include <algorithm>
#include <cstring>

#include "kernels/transpose.h"

namespace bittwin {
namespace {

int64_t bytes_of(OutputType type) {
  switch (type) {
    case OutputType::s8:
    case OutputType::u8: return 1;
    case OutputType::s16:
    case OutputType::u16: return 2;
    default: return 4;
  }
}

// Element number in the whole output.
int64_t element(const OutputPlace& p, const Block& b, int64_t pixel, int64_t column) {
  const int64_t channel = b.channel + column;
  if (p.channels_last) return (b.image * p.pixels + pixel) * p.channels + channel;
  return (b.image * p.channels + channel) * p.pixels + pixel;
}

// Calls f(row, column, element) for every output of the block.
template <typename F>
void for_each(const OutputPlace& p, const Block& b, const PixelRun* runs, int64_t run_count, F f) {
  for (int64_t r = 0; r < run_count; ++r) {
    for (int64_t i = 0; i < runs[r].count; ++i) {
      for (int64_t j = 0; j < b.columns; ++j) {
        f(runs[r].from + i, j, element(p, b, runs[r].first + i * runs[r].step, j));
      }
    }
  }
}

void note_bad(const Finish& finish, const OutputPlace& p, const Block& b, const PixelRun* runs, int64_t run_count,
              Outcome& outcome) {
  const auto& stages = finish.plan->rule->stages;
  for_each(p, b, runs, run_count, [&](int64_t row, int64_t column, int64_t at) {
    const int lsh = stages[stages.size() == 1 ? 0 : static_cast<size_t>(b.channel + column)].lsh;
    const int32_t acc = b.acc[row * b.width + column];
    if (fits_after_lsh(acc, lsh)) return;
    if (outcome.bad.index < 0 || at < outcome.bad.index) outcome.bad = {at, acc, lsh};
  });
}

// Codes in place of accumulators, flags beside them. False: an accumulator does not fit after lsh.
bool make_codes(const Loops& loops, const Finish& f, const Block& b, const int32_t* high, uint8_t* inside,
                uint8_t* low_inside, FinishScratch& scratch) {
  if (f.split != nullptr) {
    int32_t* digital = scratch.digital.array<int32_t>(b.rows * b.width);
    std::fill(digital, digital + b.rows * b.width, 0);
    if (f.bias_digital != nullptr) {
      for (int64_t i = 0; i < b.rows; ++i) {
        std::copy(f.bias_digital + b.channel, f.bias_digital + b.channel + b.columns, digital + i * b.width);
      }
    }
    loops.split_requantize(*f.plan, *f.split, b.acc, b.high, digital, b.rows * b.width, b.acc, inside, low_inside);
    return true;
  }
  if (f.plan->channels.size() == 1) {
    return loops.requantize(*f.plan, b.acc, high, b.rows * b.width, b.acc, inside);
  }
  bool fits = true;
  for (int64_t i = 0; i < b.rows; ++i) {
    const int64_t at = i * b.width;
    fits = loops.requantize_channels(*f.plan, b.channel, b.acc + at, high != nullptr ? high + at : nullptr,
                                     b.columns, b.acc + at, inside != nullptr ? inside + at : nullptr) &&
           fits;
  }
  return fits;
}

// Pixel-major codes to channel-major memory whose pixels may be `step` apart.
template <typename T>
void scatter(const void* from, int64_t count, int64_t step, void* to) {
  for (int64_t i = 0; i < count; ++i) static_cast<T*>(to)[i * step] = static_cast<const T*>(from)[i];
}

void store_channel_first(const Loops& loops, const Finish& f, const OutputPlace& p, const Block& b,
                         const PixelRun& run, FinishScratch& scratch) {
  const int64_t at = element(p, b, run.first, 0);
  if (loops.store_turned != nullptr && f.type == OutputType::f32 && run.step == 1) {
    loops.store_turned({b.acc + run.from * b.width, run.count, b.columns, b.width, static_cast<float*>(f.out) + at,
                        p.pixels, f.type, f.codes_per_unit});
    return;
  }
  int32_t* turned = scratch.turned.array<int32_t>(b.columns * run.count);
  transpose(reinterpret_cast<const uint32_t*>(b.acc + run.from * b.width), b.width, run.count, b.columns,
            reinterpret_cast<uint32_t*>(turned), run.count);
  const int64_t bytes = bytes_of(f.type);
  auto* out = static_cast<uint8_t*>(f.out) + at * bytes;
  if (run.step == 1) {
    loops.store({turned, b.columns, run.count, run.count, out, p.pixels, f.type, f.codes_per_unit});
    return;
  }
  uint8_t* typed = scratch.typed.reserve(b.columns * run.count * bytes);
  loops.store({turned, b.columns, run.count, run.count, typed, run.count, f.type, f.codes_per_unit});
  for (int64_t j = 0; j < b.columns; ++j) {
    const uint8_t* from = typed + j * run.count * bytes;
    uint8_t* to = out + j * p.pixels * bytes;
    if (bytes == 1) scatter<uint8_t>(from, run.count, run.step, to);
    if (bytes == 2) scatter<uint16_t>(from, run.count, run.step, to);
    if (bytes == 4) scatter<uint32_t>(from, run.count, run.step, to);
  }
}

void store_block(const Loops& loops, const Finish& f, const OutputPlace& p, const Block& b, const PixelRun* runs,
                 int64_t run_count, FinishScratch& scratch) {
  for (int64_t r = 0; r < run_count; ++r) {
    const PixelRun& run = runs[r];
    if (!p.channels_last) {
      store_channel_first(loops, f, p, b, run, scratch);
      continue;
    }
    auto* out = static_cast<uint8_t*>(f.out) + element(p, b, run.first, 0) * bytes_of(f.type);
    loops.store({b.acc + run.from * b.width, run.count, b.columns, b.width, out, run.step * p.channels, f.type,
                 f.codes_per_unit});
  }
}

// All flags of the block.
void set_flags(const OutputPlace& p, const Block& b, const PixelRun* runs, int64_t run_count, uint8_t* out) {
  for (int64_t r = 0; r < run_count; ++r) {
    const PixelRun& run = runs[r];
    const bool dense = run.step == 1 && (!p.channels_last || b.columns == p.channels);
    if (dense && p.channels_last) {
      std::memset(out + element(p, b, run.first, 0), 1, static_cast<size_t>(run.count * b.columns));
      continue;
    }
    if (dense) {
      for (int64_t j = 0; j < b.columns; ++j) {
        std::memset(out + element(p, b, run.first, j), 1, static_cast<size_t>(run.count));
      }
      continue;
    }
    for (int64_t i = 0; i < run.count; ++i) {
      for (int64_t j = 0; j < b.columns; ++j) out[element(p, b, run.first + i * run.step, j)] = 1;
    }
  }
}

// Flags to the output's layout. Returns whether all are set.
bool store_flags(const OutputPlace& p, const Block& b, const PixelRun* runs, int64_t run_count,
                 const uint8_t* flags, uint8_t* out) {
  // Mostly nothing is limited, which one sweep over the block says.
  if (std::memchr(flags, 0, static_cast<size_t>(b.rows * b.width)) == nullptr) {
    set_flags(p, b, runs, run_count, out);
    return true;
  }
  uint8_t all = 1;
  if (p.channels_last) {
    for (int64_t r = 0; r < run_count; ++r) {
      for (int64_t i = 0; i < runs[r].count; ++i) {
        const uint8_t* from = flags + (runs[r].from + i) * b.width;
        std::memcpy(out + element(p, b, runs[r].first + i * runs[r].step, 0), from, static_cast<size_t>(b.columns));
        for (int64_t j = 0; j < b.columns; ++j) all &= from[j];
      }
    }
    return all != 0;
  }
  for (int64_t r = 0; r < run_count; ++r) {  // rows between the runs are no outputs
    for (int64_t i = runs[r].from; i < runs[r].from + runs[r].count; ++i) {
      for (int64_t j = 0; j < b.columns; ++j) all &= flags[i * b.width + j];
    }
  }
  for (int64_t r = 0; r < run_count; ++r) {
    for (int64_t j = 0; j < b.columns; ++j) {
      uint8_t* to = out + element(p, b, runs[r].first, j);
      if (all != 0 && runs[r].step == 1) {
        std::memset(to, 1, static_cast<size_t>(runs[r].count));
        continue;
      }
      const uint8_t* from = flags + runs[r].from * b.width + j;
      for (int64_t i = 0; i < runs[r].count; ++i) {
        to[i * runs[r].step] = from[i * b.width];
      }
    }
  }
  return all != 0;
}

}  // namespace

void finish_block(const Loops& loops, const Finish& f, const OutputPlace& p, const Block& b, const PixelRun* runs,
                  int64_t run_count, FinishScratch& scratch, Outcome& outcome) {
  const int64_t cells = b.rows * b.width;
  if (f.plan != nullptr) {
    int32_t* high = nullptr;
    if (f.high != nullptr) {
      high = scratch.high.array<int32_t>(cells);
      std::fill(high, high + cells, 0);
      for_each(p, b, runs, run_count,
               [&](int64_t row, int64_t column, int64_t at) { high[row * b.width + column] = f.high[at]; });
    }
    // A rule with lsh can refuse: then the accumulators are still needed for the message.
    const bool may_refuse = f.split == nullptr && f.plan->may_refuse;
    Buffer& kept = scratch.typed;
    if (may_refuse) std::memcpy(kept.reserve(cells * 4), b.acc, static_cast<size_t>(cells) * 4);
    uint8_t* inside = f.inside != nullptr ? scratch.inside.reserve(cells) : nullptr;
    uint8_t* low_inside = f.low_inside != nullptr ? scratch.low_inside.reserve(cells) : nullptr;
    if (!make_codes(loops, f, b, high, inside, low_inside, scratch)) {
      Block original = b;
      original.acc = reinterpret_cast<int32_t*>(kept.data());
      note_bad(f, p, original, runs, run_count, outcome);
    }
    if (inside != nullptr && !store_flags(p, b, runs, run_count, inside, f.inside)) outcome.all_inside = false;
    if (low_inside != nullptr && !store_flags(p, b, runs, run_count, low_inside, f.low_inside)) {
      outcome.all_low_inside = false;
    }
  }
  store_block(loops, f, p, b, runs, run_count, scratch);
}

}  // namespace bittwin
