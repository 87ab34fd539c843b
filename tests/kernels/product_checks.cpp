// SPDX-License-Identifier: Apache-2.0
// Loops::product and Loops::depthwise against plain loops over what loops.h says lies in memory.
#include <cstring>

#include "checks.h"
#include "prng.h"

namespace bittwin::test {
namespace {

constexpr InputType kInputs[] = {InputType::u8, InputType::s8, InputType::u16, InputType::s16};
constexpr WeightType kWeights[] = {WeightType::s8, WeightType::s16};
constexpr int32_t kGuard = 0x5A5A5A5A;

// A stored number of one or two bytes in one or two planes.
int32_t decode(const uint8_t* at, int64_t plane, int planes, int bytes, bool is_signed) {
  if (bytes == 2) {
    uint16_t word;
    std::memcpy(&word, at, 2);
    return is_signed ? static_cast<int16_t>(word) : static_cast<int32_t>(word);
  }
  const uint8_t top = at[(planes - 1) * plane];
  const int32_t high = is_signed ? static_cast<int8_t>(top) : static_cast<int32_t>(top);
  return planes == 1 ? high : high * 256 + at[0];
}

// A product with all its memory, every array exactly as large as it may be read.
struct Case {
  Format format;
  int64_t rows, segments, units;
  int lane, groups;
  std::vector<uint8_t> x, w;
  std::vector<const uint8_t*> row;
  std::vector<int64_t> segment;
  std::vector<int32_t> start;
  int64_t x_plane, w_plane, group_stride;

  Case(Prng& r, const Loops& loops, InputType x_type, WeightType w_type, int64_t max_rows, int64_t max_units)
      : format(loops.format(x_type, w_type)), lane(loops.lane) {
    rows = r.in(r.chance(10) ? 0 : 1, max_rows);
    groups = static_cast<int>(r.in(1, loops.max_groups));
    segments = r.in(r.chance(10) ? 0 : 1, 4);
    units = r.in(1, (max_units + format.align_units - 1) / format.align_units) * format.align_units;
    place_codes(r);
    group_stride = segments * units * lane * 4 + 4 * lane * r.in(0, 1);
    w_plane = groups * group_stride;
    w = r.codes<uint8_t>(format.w_planes * w_plane);
    start = r.codes<int32_t>(groups * lane);
  }

  // Rows at even distances, which may overlap as those of a convolution do; or anywhere; or even with one break.
  void place_codes(Prng& r) {
    const int64_t run = 4 * units;
    const int64_t span = (segments > 0 ? segments : 1) * run + r.in(0, 3) * 4;
    for (int64_t i = 0; i < segments; ++i)
      segment.push_back(r.chance(70) ? i * run : r.in(0, (span - run) / 4) * 4);
    const int64_t pitch = r.chance(50) ? r.in(1, 20) * format.code_bytes : span;
    const int64_t kind = r.in(0, 3);
    const int64_t cut = r.in(0, rows);
    std::vector<int64_t> at;
    int64_t end = 0;
    for (int64_t i = 0; i < rows; ++i) {
      at.push_back(kind == 0 ? r.in(0, 40) * format.code_bytes : i * pitch + (kind == 1 && i >= cut ? 6 : 0));
      for (const int64_t s : segment) end = at.back() + s + run > end ? at.back() + s + run : end;
    }
    x_plane = end;
    x = r.codes<uint8_t>(format.x_planes * end);
    for (const int64_t a : at) row.push_back(x.data() + a);
  }

  int32_t expected(int64_t r, int64_t column) const {
    auto sum = static_cast<uint32_t>(start[static_cast<size_t>(column)]);
    const int per_unit = 4 / format.code_bytes;
    const uint8_t* group = w.data() + column / lane * group_stride + column % lane * 4;
    for (int64_t s = 0; s < segments; ++s) {
      for (int64_t i = 0; i < units * per_unit; ++i) {
        const int64_t bytes = i * format.code_bytes;
        const uint8_t* xs = row[static_cast<size_t>(r)] + segment[static_cast<size_t>(s)] + bytes;
        const uint8_t* ws = group + (s * units + i / per_unit) * lane * 4 + bytes % 4;
        const int32_t code = decode(xs, x_plane, format.x_planes, format.code_bytes, format.x_signed);
        const int32_t weight = decode(ws, w_plane, format.w_planes, format.code_bytes, true);
        sum += static_cast<uint32_t>(code) * static_cast<uint32_t>(weight);
      }
    }
    return static_cast<int32_t>(sum);
  }

  bool holds(const Loops& loops) const {
    const int64_t width = int64_t{groups} * lane;
    std::vector<int32_t> acc(static_cast<size_t>(rows * width + 16), kGuard);
    loops.product({row.data(), rows, segment.data(), segments, units, w.data(), group_stride, groups, start.data(),
                   acc.data(), format, x_plane, w_plane});
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < width; ++c) {
        if (acc[static_cast<size_t>(r * width + c)] != expected(r, c)) return false;
      }
    }
    for (size_t i = static_cast<size_t>(rows * width); i < acc.size(); ++i) {
      if (acc[i] != kGuard) return false;
    }
    return true;
  }

  std::string text(InputType x_type, WeightType w_type) const {
    return "product x" + std::to_string(static_cast<int>(x_type)) + " w" +
           std::to_string(static_cast<int>(w_type)) + ": " + std::to_string(rows) + " rows, " +
           std::to_string(segments) + " segments of " + std::to_string(units) + " units, " +
           std::to_string(groups) + " groups";
  }
};

int64_t product_of(InputType type, const uint8_t* x, int64_t c, int64_t w) {
  switch (type) {
    case InputType::u8: return x[c] * w;
    case InputType::s8: return reinterpret_cast<const int8_t*>(x)[c] * w;
    case InputType::u16: return reinterpret_cast<const uint16_t*>(x)[c] * w;
    case InputType::s16: return reinterpret_cast<const int16_t*>(x)[c] * w;
  }
  return 0;
}

}  // namespace

void check_products(const Subject& subject, Report& report) {
  Prng r(4);
  for (const InputType x : kInputs) {
    for (const WeightType w : kWeights) {
      for (int i = 0; i < 34; ++i) {
        // few rows with long segments, to cross every chunk; many rows with short ones
        const Case c(r, *subject.loops, x, w, i % 8 == 0 ? 7 : 70, i % 8 == 0 ? 300 : 24);
        report.expect(c.holds(*subject.loops), subject, c.text(x, w));
      }
    }
  }
}

void check_depthwise(const Subject& subject, Report& report) {
  Prng r(5);
  for (int i = 0; i < 160; ++i) {
    const InputType type = kInputs[i % 4];
    const int64_t bytes = type == InputType::u8 || type == InputType::s8 ? 1 : 2;
    const bool narrow = r.chance(50);
    const int64_t channels = r.chance(30) ? 64 : r.in(1, 70);
    const int64_t taps = r.chance(10) ? r.in(60, 70) : r.in(0, 12);
    const int64_t rows = r.in(0, 9);
    // whole 16-bit words, so that two-byte codes stand where their type wants them
    std::vector<uint16_t> x = r.codes<uint16_t>((channels + 200) * bytes / 2 + 1);
    std::vector<const uint8_t*> row;
    std::vector<int64_t> tap;
    const int64_t last = static_cast<int64_t>(x.size()) * 2 - channels * bytes;  // the last place to begin
    for (int64_t k = 0; k < rows; ++k) {
      row.push_back(reinterpret_cast<const uint8_t*>(x.data()) + r.in(0, last / 2 / bytes) * bytes);
    }
    for (int64_t k = 0; k < taps; ++k) tap.push_back(r.in(0, last / 2 / bytes) * bytes);
    std::vector<int16_t> w = r.codes<int16_t>(taps * channels);
    if (narrow) {
      for (int16_t& v : w) v = static_cast<int8_t>(v);
    }
    const std::vector<int32_t> start = r.codes<int32_t>(channels);
    std::vector<int32_t> acc(static_cast<size_t>(rows * channels + 16), kGuard);
    subject.loops->depthwise(
        {row.data(), rows, tap.data(), taps, w.data(), channels, start.data(), acc.data(), type, narrow});
    bool equal = true;
    for (int64_t p = 0; p < rows; ++p) {
      for (int64_t c = 0; c < channels; ++c) {
        auto sum = static_cast<uint32_t>(start[static_cast<size_t>(c)]);
        for (int64_t t = 0; t < taps; ++t) {
          const uint8_t* at = row[static_cast<size_t>(p)] + tap[static_cast<size_t>(t)];
          sum += static_cast<uint32_t>(product_of(type, at, c, w[static_cast<size_t>(t * channels + c)]));
        }
        equal = equal && acc[static_cast<size_t>(p * channels + c)] == static_cast<int32_t>(sum);
      }
    }
    for (size_t k = static_cast<size_t>(rows * channels); k < acc.size(); ++k) equal = equal && acc[k] == kGuard;
    report.expect(equal, subject,
                  "depthwise: " + std::to_string(rows) + " rows, " + std::to_string(taps) + " taps, " +
                      std::to_string(channels) + " channels, type " + std::to_string(static_cast<int>(type)));
  }
}

}  // namespace bittwin::test
