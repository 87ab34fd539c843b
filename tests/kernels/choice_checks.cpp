// SPDX-License-Identifier: Apache-2.0
// Which products go to the companion for narrow ones.
#include "checks.h"
#include "kernels/choose_loops.h"

namespace bittwin::test {
namespace {

Format unpadded(InputType, WeightType) {
  return {1, 1, 1, 1, 0, 0, false};
}

bool goes_to_small(const Loops& wide, Op op, const ConvShape& shape, InputType x = InputType::u8,
                   Part part = Part::whole) {
  Problem p;
  p.op = op;
  p.shape = shape;
  p.x_type = x;
  return &choose_loops(wide, p, part, geometry_of(p)) == wide.small;
}

ConvShape conv(int64_t channels, int64_t size, int64_t kernel) {
  return {1, channels, size, size, 16, size, size, kernel, kernel, 1, 1, kernel / 2, kernel / 2, 1, 1, 1};
}

}  // namespace

void check_choice(Report& report) {
  Loops small = *emulated_amx_loops();
  small.format = unpadded;
  Loops wide = *emulated_amx_loops();
  wide.small = &small;
  wide.small_rows = 16;
  const Subject subject{"choice", &wide};
  const auto linear = [&](int64_t rows, int64_t k, InputType x, Part part) {
    return goes_to_small(wide, Op::linear, linear_shape(rows, k, 32), x, part);
  };
  report.expect(linear(15, 256, InputType::u8, Part::whole), subject, "15 rows are few");
  report.expect(!linear(16, 256, InputType::u8, Part::whole), subject, "16 rows fill a tile");
  report.expect(linear(100, 12, InputType::u8, Part::whole), subject, "12 codes: 3 units against 16");
  report.expect(!linear(100, 13, InputType::u8, Part::whole), subject, "13 codes: 4 units against 16");
  report.expect(linear(100, 28, InputType::u16, Part::whole), subject, "two planes: 7 units against 32");
  report.expect(!linear(100, 28, InputType::u16, Part::low), subject, "the low part of a split is one plane");
  report.expect(!goes_to_small(wide, Op::conv2d, conv(16, 4, 1)), subject, "an image of 16 pixels");
  report.expect(goes_to_small(wide, Op::conv2d, conv(16, 3, 1)), subject, "an image of 9 pixels");
  report.expect(goes_to_small(wide, Op::conv2d, conv(1, 28, 7)), subject, "7 taps of one channel");
  report.expect(!goes_to_small(wide, Op::conv2d, conv(3, 28, 7)), subject, "7 taps of three channels");
  report.expect(!linear(100, 256, InputType::u8, Part::whole), subject, "as wide as tiles");
  wide.small = nullptr;
  report.expect(!linear(1, 1, InputType::u8, Part::whole), subject, "no companion");
}

}  // namespace bittwin::test
