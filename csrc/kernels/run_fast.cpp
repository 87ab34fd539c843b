// SPDX-License-Identifier: Apache-2.0
// Every operator on any instruction set's loops: canvas, blocks of pixels times panels of columns, finish.
//
// Work is cut so that one block's accumulators stay in the L1 cache and one item's input in L2. Threads take
// whole items where there are enough, else blocks of one item. Results do not depend on it: every output is
// one thread's, and sums are modulo 2^32.
#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>

#include "kernels/canvas.h"
#include "kernels/choose_loops.h"
#include "kernels/finish_block.h"
#include "kernels/panels.h"
#include "kernels/threads.h"

namespace bittwin {
namespace {

constexpr int64_t kBlockRows = 96;          // a multiple of every loop's row count
constexpr int64_t kParallelWork = 1 << 22;  // products below which waking a thread costs more than it brings

struct Scratch {
  Buffer acc, acc_high, start, start_high;
  std::vector<int64_t> offsets, high_offsets;
  FinishScratch finish;
};

struct Job {
  const Loops& loops;
  const Problem& problem;
  const Finish& finish;
  const Geometry2d& geometry;
  const PanelSet* low;   // the one round, or the low round
  const PanelSet* high;  // of a split layer, else null
  OutputPlace place;
};

// One item's inputs for one convolution group.
struct Inputs {
  CanvasView low, high;
};

void fill_start(const Panel& panel, const Format& f, const int32_t* bias, int64_t channel, int64_t column,
                int64_t columns, int64_t width, int32_t* start) {
  for (int64_t j = 0; j < columns; ++j) {
    const uint32_t b = bias != nullptr ? static_cast<uint32_t>(bias[channel + j]) : 0U;
    const auto sum = static_cast<uint32_t>(panel.sum[static_cast<size_t>(column + j)]);
    start[j] = static_cast<int32_t>(b - static_cast<uint32_t>(f.unflip) * sum);
  }
  std::fill(start + columns, start + width, 0);
}

// Loops that like even distances walk rows as wide as the canvas where that costs little: the pixels beyond the
// grid are computed from whatever the canvas holds there, and never stored.
int64_t walk_width(const Loops& loops, const Sweep& s, const Canvas& canvas) {
  if (!loops.even_rows || s.step_y * canvas.w % s.step_x != 0) return s.grid_w;
  const int64_t even = s.step_y * canvas.w / s.step_x;
  return even >= s.grid_w && even - s.grid_w <= s.grid_w / 4 ? even : s.grid_w;
}

int64_t walk_pixels(const Sweep& s, int64_t walk) {
  return s.grid_h == 0 || s.grid_w == 0 ? 0 : (s.grid_h - 1) * walk + s.grid_w;
}

// Addresses of a block's pixels and their places in the output.
struct BlockPixels {
  const uint8_t* row[kBlockRows];
  PixelRun run[kBlockRows];
  int64_t runs = 0;
};

void place_pixels(const Problem& p, const Sweep& sweep, int64_t walk, const Item& item, int64_t first, int64_t rows,
                  BlockPixels& out) {
  const int64_t out_w = p.op == Op::linear ? sweep.grid_w : p.shape.out_w;
  // the sweep is the output, in order
  const bool whole = sweep.out_step_x == 1 && sweep.out_step_y == 1 && walk == sweep.grid_w;
  out.runs = 0;
  if (whole) out.run[out.runs++] = {0, rows, first + item.first, 1};
  for (int64_t i = 0; !whole && i < rows;) {
    const int64_t y = (first + i) / walk;
    const int64_t x = (first + i) % walk;
    const int64_t count = std::min(rows - i, sweep.grid_w - x);
    const int64_t pixel = (sweep.out_y + y * sweep.out_step_y) * out_w + sweep.out_x + x * sweep.out_step_x;
    if (count > 0) out.run[out.runs++] = {i, count, pixel, sweep.out_step_x};
    i += std::min(rows - i, walk - x);
  }
}

void point_rows(const Sweep& sweep, int64_t walk, const Canvas& canvas, const CanvasView& view, int64_t first,
                int64_t rows, const uint8_t** row) {
  int64_t y = first / walk;
  int64_t x = first % walk;
  for (int64_t i = 0; i < rows; ++i) {
    row[i] = view.data + (y * sweep.step_y * canvas.w + x * sweep.step_x) * view.pitch;
    if (++x == walk) x = 0, ++y;
  }
}

void segment_offsets(const Sweep& sweep, const Canvas& canvas, const CanvasView& view,
                     std::vector<int64_t>& offsets) {
  offsets.clear();
  for (const Segment& s : sweep.segments) offsets.push_back((s.y * canvas.w + s.x) * view.pitch);
}

// Rounds one block of pixels times up to max_groups groups of columns.
struct Round {
  const Panel* panel;
  const Format* format;
  const CanvasView* view;
  const int32_t* bias;
};

void multiply(const Job& job, const Round& round, const std::vector<int64_t>& offsets, const uint8_t* const* row,
              int64_t rows, int64_t column, int64_t columns, int64_t channel, Buffer& start_buffer, int32_t* acc) {
  const int64_t lane = job.loops.lane;
  const int64_t groups = (columns + lane - 1) / lane;
  const int64_t width = groups * lane;
  int32_t* start = start_buffer.array<int32_t>(width);
  fill_start(*round.panel, *round.format, round.bias, channel, column, columns, width, start);
  job.loops.product({row, rows, offsets.data(), static_cast<int64_t>(offsets.size()), round.panel->units,
                     round.panel->bytes.data() + column / lane * round.panel->group_stride,
                     round.panel->group_stride, static_cast<int>(groups), start, acc, *round.format,
                     round.view->plane, round.panel->w_plane});
}

// Pixel blocks [block_first, block_last) of a sweep times panel columns [column_first, column_last).
struct Extent {
  int64_t block_first, block_last, column_first, column_last;
};

void run_extent(const Job& job, const Item& item, const Inputs& inputs, int64_t group, size_t sweep_index,
                const Extent& extent, Outcome& outcome) {
  thread_local Scratch scratch;
  const Problem& p = job.problem;
  const Sweep& sweep = job.geometry.sweeps[sweep_index];
  const Canvas& canvas = job.geometry.canvas;
  const size_t panel = static_cast<size_t>(group) * job.geometry.sweeps.size() + sweep_index;
  const Round low{&job.low->panels[panel], &job.low->format, &inputs.low, p.bias};
  segment_offsets(sweep, canvas, inputs.low, scratch.offsets);
  Round high{};
  if (job.high != nullptr) {
    high = {&job.high->panels[panel], &job.high->format, &inputs.high, nullptr};
    segment_offsets(sweep, canvas, inputs.high, scratch.high_offsets);
  }
  const int64_t step = int64_t{job.loops.lane} * job.loops.max_groups;
  const int64_t columns_per_group = p.shape.out_channels / p.shape.groups;
  const int64_t walk = walk_width(job.loops, sweep, canvas);
  const int64_t pixels = p.op == Op::linear ? item.rows : walk_pixels(sweep, walk);
  int32_t* acc = scratch.acc.array<int32_t>(kBlockRows * step);
  int32_t* acc_high = job.high != nullptr ? scratch.acc_high.array<int32_t>(kBlockRows * step) : nullptr;
  BlockPixels block;  // not cleared: it is as large as a small layer's whole input
  const uint8_t* high_row[kBlockRows];
  for (int64_t column = extent.column_first; column < extent.column_last; column += step) {
    const int64_t columns = std::min(step, extent.column_last - column);
    const int64_t channel = group * columns_per_group + column;
    const int64_t lanes = (columns + job.loops.lane - 1) / job.loops.lane;
    for (int64_t b = extent.block_first; b < extent.block_last; ++b) {
      const int64_t first = b * kBlockRows;
      const int64_t rows = std::min(kBlockRows, pixels - first);
      place_pixels(p, sweep, walk, item, first, rows, block);
      point_rows(sweep, walk, canvas, inputs.low, first, rows, block.row);
      if (inputs.low.last != nullptr && first + rows == pixels) block.row[rows - 1] = inputs.low.last;
      multiply(job, low, scratch.offsets, block.row, rows, column, columns, channel, scratch.start, acc);
      if (job.high != nullptr) {
        point_rows(sweep, walk, canvas, inputs.high, first, rows, high_row);
        multiply(job, high, scratch.high_offsets, high_row, rows, column, columns, channel, scratch.start_high,
                 acc_high);
      }
      const Block done{acc, acc_high, rows, lanes * job.loops.lane, columns, channel, item.image};
      finish_block(job.loops, job.finish, job.place, done, block.run, block.runs, scratch.finish, outcome);
    }
  }
}

// Every segment is a multiple of this many codes long.
int64_t segment_codes(const Problem& p, const Geometry2d& g) {
  int64_t taps = 0;
  for (const Sweep& s : g.sweeps) {
    for (const Segment& seg : s.segments) taps = std::gcd(taps, static_cast<int64_t>(seg.taps.size()));
  }
  return taps * (p.shape.in_channels / p.shape.groups);
}

CanvasView input_for(const Job& job, const PanelSet& set, Part part, const Item& item, int64_t group,
                     Buffer& buffer) {
  const Problem& p = job.problem;
  const int64_t units = set.panels.empty() ? 0 : set.panels[0].units;
  if (is_canvas(p, set.format, part, job.geometry.canvas, segment_codes(p, job.geometry))) {
    return view_of_input(p, item, units, buffer);
  }
  return make_canvas(p, set.format, part, job.geometry.canvas, item, group, units, buffer);
}

// Outcomes of several threads.
class Total {
 public:
  void add(const Outcome& o) {
    const std::lock_guard<std::mutex> lock(mutex_);
    total_.all_inside = total_.all_inside && o.all_inside;
    total_.all_low_inside = total_.all_low_inside && o.all_low_inside;
    if (o.bad.index >= 0 && (total_.bad.index < 0 || o.bad.index < total_.bad.index)) total_.bad = o.bad;
  }
  const Outcome& get() const { return total_; }

 private:
  std::mutex mutex_;
  Outcome total_;
};

int64_t blocks_of(const Sweep& s, int64_t walk, const Problem& p, const Item& item) {
  const int64_t pixels = p.op == Op::linear ? item.rows : walk_pixels(s, walk);
  return (pixels + kBlockRows - 1) / kBlockRows;
}

void run_item(const Job& job, const Item& item, bool share, Total& total) {
  thread_local Buffer low_buffer;
  thread_local Buffer high_buffer;
  const ConvShape& s = job.problem.shape;
  const int64_t columns = s.out_channels / s.groups;
  const int64_t step = int64_t{job.loops.lane} * job.loops.max_groups;
  for (int64_t g = 0; g < s.groups; ++g) {
    Inputs inputs{};
    inputs.low = input_for(job, *job.low, job.high != nullptr ? Part::low : Part::whole, item, g, low_buffer);
    if (job.high != nullptr) inputs.high = input_for(job, *job.high, Part::high, item, g, high_buffer);
    for (size_t w = 0; w < job.geometry.sweeps.size(); ++w) {
      const Sweep& sweep = job.geometry.sweeps[w];
      const int64_t blocks = blocks_of(sweep, walk_width(job.loops, sweep, job.geometry.canvas), job.problem, item);
      if (!share) {
        Outcome outcome;
        run_extent(job, item, inputs, g, w, {0, blocks, 0, columns}, outcome);
        total.add(outcome);
        continue;
      }
      const int64_t panels = (columns + step - 1) / step;
      parallel_for(blocks * panels, [&](int64_t task) {
        const int64_t column = task / blocks * step;
        const int64_t block = task % blocks;
        Outcome outcome;
        run_extent(job, item, inputs, g, w, {block, block + 1, column, std::min(columns, column + step)}, outcome);
        total.add(outcome);
      });
    }
  }
}

std::vector<Item> items_of(const Problem& p, int64_t bytes, int threads) {
  std::vector<Item> items;
  if (p.op != Op::linear) {
    for (int64_t i = 0; i < p.shape.batch; ++i) items.push_back({i, 0, 0});
    return items;
  }
  const int64_t rows = p.shape.in_w;
  const int64_t most =
      std::max(kBlockRows, bytes / std::max<int64_t>(1, p.shape.in_channels) / kBlockRows * kBlockRows);
  // Few items for the threads there are: one, whose blocks and columns they share. A thread that wakes late then
  // still finds work.
  const int64_t each = threads > 1 && rows < 2 * threads * most ? std::max<int64_t>(rows, 1) : most;
  for (int64_t i = 0; i < rows; i += each) items.push_back({0, i, std::min(each, rows - i)});
  return items;
}

bool is_depthwise(const Problem& p) {
  const ConvShape& s = p.shape;
  return p.op == Op::conv2d && s.groups > 1 && s.groups == s.in_channels && s.groups == s.out_channels;
}

// Channels of a depthwise layer in chunks that the loops hold in registers.
constexpr int64_t kDepthwiseChunk = 64;

std::vector<int16_t> depthwise_weights(const Problem& p) {
  const int64_t taps = p.shape.kernel_h * p.shape.kernel_w;
  const int64_t channels = p.shape.out_channels;
  std::vector<int16_t> out(static_cast<size_t>(taps * channels));
  for (int64_t c0 = 0; c0 < channels; c0 += kDepthwiseChunk) {
    const int64_t chunk = std::min(kDepthwiseChunk, channels - c0);
    for (int64_t t = 0; t < taps; ++t) {
      for (int64_t c = 0; c < chunk; ++c) {
        const int64_t from = (c0 + c) * taps + t;
        out[static_cast<size_t>(c0 * taps + t * chunk + c)] = p.w_type == WeightType::s8
                                                                  ? static_cast<const int8_t*>(p.w)[from]
                                                                  : static_cast<const int16_t*>(p.w)[from];
      }
    }
  }
  return out;
}

void depthwise_item(const Job& job, const Item& item, const std::vector<int16_t>& weights, Outcome& outcome) {
  thread_local Buffer canvas_buffer;
  thread_local Scratch scratch;
  const Problem& p = job.problem;
  const Sweep& sweep = job.geometry.sweeps[0];
  const Canvas& canvas = job.geometry.canvas;
  const CanvasView view = make_plain_canvas(p, canvas, item, canvas_buffer);
  const int64_t bytes = view.pitch / std::max<int64_t>(1, p.shape.in_channels);
  std::vector<int64_t> taps;
  for (const Segment& s : sweep.segments) {
    for (size_t t = 0; t < s.taps.size(); ++t) {
      taps.push_back((s.y * canvas.w + s.x + static_cast<int64_t>(t)) * view.pitch);
    }
  }
  const auto tap_count = static_cast<int64_t>(taps.size());
  int32_t* acc = scratch.acc.array<int32_t>(kBlockRows * kDepthwiseChunk);
  int32_t* start = scratch.start.array<int32_t>(kDepthwiseChunk);
  BlockPixels block{};
  for (int64_t b = 0; b < blocks_of(sweep, sweep.grid_w, p, item); ++b) {
    const int64_t first = b * kBlockRows;
    const int64_t rows = std::min(kBlockRows, sweep.grid_h * sweep.grid_w - first);
    place_pixels(p, sweep, sweep.grid_w, item, first, rows, block);
    for (int64_t c = 0; c < p.shape.out_channels; c += kDepthwiseChunk) {
      const int64_t chunk = std::min(kDepthwiseChunk, p.shape.out_channels - c);
      point_rows(sweep, sweep.grid_w, canvas, {view.data + c * bytes, view.pitch, 0, nullptr}, first, rows,
                 block.row);
      for (int64_t j = 0; j < chunk; ++j) start[j] = p.bias != nullptr ? p.bias[c + j] : 0;
      job.loops.depthwise({block.row, rows, taps.data(), tap_count, weights.data() + c * tap_count, chunk, start,
                           acc, p.x_type, p.w_type == WeightType::s8});
      finish_block(job.loops, job.finish, job.place, {acc, nullptr, rows, chunk, chunk, c, item.image}, block.run,
                   block.runs, scratch.finish, outcome);
    }
  }
}

int64_t work_of(const Problem& p) {
  const ConvShape& s = p.shape;
  return s.batch * s.out_h * s.out_w * s.out_channels * std::max<int64_t>(1, s.in_channels / s.groups) *
         s.kernel_h * s.kernel_w;
}

}  // namespace

Outcome run_fast(const Loops& best, const Problem& p, const Finish& finish) {
  const ConvShape& s = p.shape;
  if (s.batch * s.out_h * s.out_w * s.out_channels == 0) return {};
  const Geometry2d& geometry = geometry_for(p);
  const Loops& loops = choose_loops(best, p, finish.split != nullptr ? Part::low : Part::whole, geometry);
  const OutputPlace place{p.op == Op::linear ? s.in_w : s.out_h * s.out_w, s.out_channels,
                          p.op == Op::linear || p.channels_last};
  Job job{loops, p, finish, geometry, nullptr, nullptr, place};
  const bool parallel = work_of(p) >= kParallelWork;
  const int threads = parallel ? num_threads() : 1;
  const std::vector<Item> items = items_of(p, loops.item_bytes, threads);
  Total total;
  if (is_depthwise(p) && finish.split == nullptr) {
    const std::vector<int16_t> weights = depthwise_weights(p);
    const auto one = [&](int64_t i) {
      Outcome outcome;
      depthwise_item(job, items[static_cast<size_t>(i)], weights, outcome);
      total.add(outcome);
    };
    if (parallel) {
      parallel_for(static_cast<int64_t>(items.size()), one);
    } else {
      for (int64_t i = 0; i < static_cast<int64_t>(items.size()); ++i) one(i);
    }
    return total.get();
  }
  // Weights that nobody packed are arranged anew, in memory that is kept from call to call.
  thread_local PanelSet own[2];
  const auto panels_for = [&](Part part) -> const PanelSet* {
    const InputType type = part_type(p.x_type, part);
    if (p.cache != nullptr) return &p.cache->get(loops, p, type, geometry);
    PanelSet& set = own[part == Part::high ? 1 : 0];
    make_panels(loops, p, type, geometry, set);
    return &set;
  };
  const bool split = finish.split != nullptr;
  job.low = panels_for(split ? Part::low : Part::whole);
  job.high = split ? panels_for(Part::high) : nullptr;
  const auto count = static_cast<int64_t>(items.size());
  if (!parallel || threads == 1) {
    for (const Item& item : items) run_item(job, item, false, total);
  } else if (count >= threads) {
    parallel_for(count, [&](int64_t i) { run_item(job, items[static_cast<size_t>(i)], false, total); });
  } else {
    for (const Item& item : items) run_item(job, item, true, total);
  }
  return total.get();
}

}  // namespace bittwin
