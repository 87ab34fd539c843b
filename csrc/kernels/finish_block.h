// SPDX-License-Identifier: Apache-2.0
// A block of accumulators to its place in the output: requantise, then store in the output's layout.
#pragma once

#include "kernels/buffer.h"
#include "kernels/problem.h"

namespace bittwin {

// Output pixels that follow each other: pixel i of the run is `first + i * step` (pixel numbers within an image).
struct PixelRun {
  int64_t from, count;  // rows of the block
  int64_t first, step;
};

struct Block {
  int32_t* acc;         // [rows, width]; becomes codes
  const int32_t* high;  // the second round of a split layer, the same shape, or null
  int64_t rows, width;  // width: columns of the block, those beyond `columns` are padding
  int64_t columns;
  int64_t channel;  // of column 0, in the whole output
  int64_t image;
};

struct OutputPlace {
  int64_t pixels, channels;  // of one image
  bool channels_last;
};

struct FinishScratch {
  Buffer high, digital, inside, low_inside, turned, typed;
};

// Merges what it found into `outcome`.
void finish_block(const Loops& loops, const Finish& finish, const OutputPlace& place, const Block& block,
                  const PixelRun* runs, int64_t run_count, FinishScratch& scratch, Outcome& outcome);

}  // namespace bittwin
