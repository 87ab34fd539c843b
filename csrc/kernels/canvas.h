// SPDX-License-Identifier: Apache-2.0
// Input codes as product loops read them: channel-last, with margins, in the loops' format (loops.h).
#pragma once

#include "kernels/buffer.h"
#include "kernels/geometry.h"

namespace bittwin {

// Which round of a split layer the canvas is for.
enum class Part : int { whole, low, high };

// The type of a part's codes: the low and high parts of unsigned codes are bytes, of signed codes they are signed.
InputType part_type(InputType x, Part part);

struct CanvasView {
  const uint8_t* data = nullptr;
  int64_t pitch = 0;  // bytes from one pixel to the next
  int64_t plane = 0;  // bytes from the low plane to the high plane
  // The last row of a linear layer's x, where that must not be read beyond its end; else null.
  const uint8_t* last = nullptr;
};

// How many canvas images hold what: one image of a convolution, or rows [first, first + rows) of a linear layer,
// which lie side by side.
struct Item {
  int64_t image = 0;
  int64_t first = 0, rows = 0;  // linear only
};

// Does x itself serve as the canvas? Then nothing has to be copied, but for the last row of a linear layer: the
// rows before it may be read into the next one.
bool is_canvas(const Problem& p, const Format& f, Part part, const Canvas& canvas, int64_t segment_codes);
CanvasView view_of_input(const Problem& p, const Item& item, int64_t row_units, Buffer& buffer);

// Copies one convolution group of an item into `buffer`.
CanvasView make_canvas(const Problem& p, const Format& f, Part part, const Canvas& canvas, const Item& item,
                       int64_t group, int64_t row_units, Buffer& buffer);

// The same without a format: plain codes of the input's own type, all channels (depthwise products).
CanvasView make_plain_canvas(const Problem& p, const Canvas& canvas, const Item& item, Buffer& buffer);

}  // namespace bittwin
