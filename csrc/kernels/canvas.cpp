// SPDX-License-Identifier: Apache-2.0
#include "kernels/canvas.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "bittwin/split.h"
#include "kernels/transpose.h"

namespace bittwin {
namespace {

constexpr int64_t kSlack = 256;  // loops may read past the last code (loops.h)

template <Part P>
int32_t part_of(int32_t code) {
  return P == Part::low ? split_low(code) : P == Part::high ? split_high(code) : code;
}

// A run of codes into one plane, T wide.
template <typename X, typename T, Part P>
void convert_run(const X* x, int64_t count, uint32_t flip, int shift, T* out) {
  if (P == Part::whole && shift == 0) {  // T is as wide as X, or wider
    const T bits = static_cast<T>(flip);
    for (int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(static_cast<T>(x[i]) ^ bits);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const auto code = static_cast<uint32_t>(part_of<P>(x[i]));
    out[i] = static_cast<T>((code ^ flip) >> shift);
  }
}

struct Layout {
  int64_t channels, all_channels, group;
  int64_t pitch;  // in T
};

// Image rows of one group to a plane of the canvas.
template <typename X, typename T, Part P>
void fill_plane(const Problem& p, const Canvas& canvas, const Item& item, const Layout& at, uint32_t flip,
                int shift, T* out) {
  const ConvShape& s = p.shape;
  const X* x = static_cast<const X*>(p.x);
  const int64_t first = at.group * at.channels;
  if (p.op == Op::linear) {
    for (int64_t r = 0; r < item.rows; ++r) {
      T* to = out + r * at.pitch;
      convert_run<X, T, P>(x + (item.first + r) * at.channels, at.channels, flip, shift, to);
      std::fill(to + at.channels, to + at.pitch, T{0});
    }
    return;
  }
  const bool as_is = P == Part::whole && sizeof(X) == sizeof(T) && flip == 0 && shift == 0;
  thread_local Buffer lines;
  T* line = lines.array<T>(at.channels * s.in_w);
  for (int64_t y = 0; y < s.in_h; ++y) {
    T* to = out + ((y + canvas.top) * canvas.w + canvas.left) * at.pitch;
    if (p.channels_last) {
      const X* from = x + ((item.image * s.in_h + y) * s.in_w) * at.all_channels + first;
      if (at.channels == at.all_channels) {
        convert_run<X, T, P>(from, at.channels * s.in_w, flip, shift, to);
        continue;
      }
      for (int64_t i = 0; i < s.in_w; ++i) {
        convert_run<X, T, P>(from + i * at.all_channels, at.channels, flip, shift, to + i * at.pitch);
      }
      continue;
    }
    const X* from = x + (item.image * at.all_channels + first) * s.in_h * s.in_w + y * s.in_w;
    if (as_is) {  // no copy of a line on the way
      using Word = std::make_unsigned_t<T>;
      transpose(reinterpret_cast<const Word*>(from), s.in_h * s.in_w, at.channels, s.in_w,
                reinterpret_cast<Word*>(to), at.pitch);
      continue;
    }
    for (int64_t c = 0; c < at.channels; ++c) {
      convert_run<X, T, P>(from + c * s.in_h * s.in_w, s.in_w, flip, shift, line + c * s.in_w);
    }
    transpose(line, s.in_w, at.channels, s.in_w, to, at.pitch);
  }
}

template <typename X, typename T>
void fill_part(const Problem& p, const Canvas& canvas, Part part, const Item& item, const Layout& at, uint32_t flip,
               int shift, T* out) {
  if (part == Part::low) return fill_plane<X, T, Part::low>(p, canvas, item, at, flip, shift, out);
  if (part == Part::high) return fill_plane<X, T, Part::high>(p, canvas, item, at, flip, shift, out);
  fill_plane<X, T, Part::whole>(p, canvas, item, at, flip, shift, out);
}

template <typename T>
void fill_type(const Problem& p, const Canvas& canvas, Part part, const Item& item, const Layout& at, uint32_t flip,
               int shift, T* out) {
  switch (p.x_type) {
    case InputType::u8: return fill_part<uint8_t>(p, canvas, part, item, at, flip, shift, out);
    case InputType::s8: return fill_part<int8_t>(p, canvas, part, item, at, flip, shift, out);
    case InputType::u16: return fill_part<uint16_t>(p, canvas, part, item, at, flip, shift, out);
    case InputType::s16: return fill_part<int16_t>(p, canvas, part, item, at, flip, shift, out);
  }
}

bool has_margins(const Problem& p, const Canvas& c) {
  return c.top != 0 || c.left != 0 || c.h != p.shape.in_h || c.w != p.shape.in_w;
}

int32_t pad_of(int32_t code, Part part) {
  return part == Part::low ? split_low(code) : part == Part::high ? split_high(code) : code;
}

template <typename T>
void make_planes(const Problem& p, const Format& f, Part part, const Canvas& canvas, const Item& item,
                 const Layout& at, uint8_t* out, int64_t plane) {
  for (int i = 0; i < f.x_planes; ++i) {
    T* to = reinterpret_cast<T*>(out + i * plane);
    if (p.op != Op::linear && has_margins(p, canvas)) {
      const uint32_t pad = (static_cast<uint32_t>(pad_of(p.pad_code, part)) ^ f.flip) >> (8 * i);
      std::fill(to, to + canvas.h * canvas.w * at.pitch, static_cast<T>(pad));
    }
    fill_type(p, canvas, part, item, at, f.flip, 8 * i, to);
  }
}

int64_t type_bytes(InputType t) {
  return t == InputType::u8 || t == InputType::s8 ? 1 : 2;
}

CanvasView plain_view(const Problem& p, const Item& item) {
  const ConvShape& s = p.shape;
  const int64_t pitch = s.in_channels * type_bytes(p.x_type);
  const int64_t first = p.op == Op::linear ? item.first : item.image * s.in_h * s.in_w;
  return {static_cast<const uint8_t*>(p.x) + first * pitch, pitch, 0, nullptr};
}

}  // namespace

InputType part_type(InputType x, Part part) {
  if (part == Part::whole) return x;
  if (x == InputType::u8 || x == InputType::u16) return InputType::u8;
  return part == Part::low ? InputType::s16 : InputType::s8;
}

bool is_canvas(const Problem& p, const Format& f, Part part, const Canvas& canvas, int64_t segment_codes) {
  const bool as_is = part == Part::whole && f.flip == 0 && f.x_planes == 1 && f.code_bytes == type_bytes(p.x_type);
  const bool in_place = p.op == Op::linear || (p.channels_last && p.shape.groups == 1 && !has_margins(p, canvas));
  const int64_t bytes = segment_codes * f.code_bytes;
  const int64_t aligned = 4 * int64_t{f.align_units};
  return as_is && in_place && (bytes % aligned == 0 || (p.op == Op::linear && bytes >= aligned));
}

CanvasView view_of_input(const Problem& p, const Item& item, int64_t row_units, Buffer& buffer) {
  CanvasView view = plain_view(p, item);
  const int64_t bytes = 4 * row_units;
  if (p.op == Op::linear && bytes > view.pitch && item.first + item.rows == p.shape.in_w) {
    uint8_t* last = buffer.reserve(bytes);
    std::memcpy(last, view.data + (item.rows - 1) * view.pitch, static_cast<size_t>(view.pitch));
    std::memset(last + view.pitch, 0, static_cast<size_t>(bytes - view.pitch));
    view.last = last;
  }
  return view;
}

CanvasView make_canvas(const Problem& p, const Format& f, Part part, const Canvas& canvas, const Item& item,
                       int64_t group, int64_t row_units, Buffer& buffer) {
  const ConvShape& s = p.shape;
  Layout at{s.in_channels / s.groups, s.in_channels, group, s.in_channels / s.groups};
  if (p.op == Op::linear) at.pitch = row_units * 4 / f.code_bytes;
  const int64_t pixels = p.op == Op::linear ? item.rows : canvas.h * canvas.w;
  const int64_t plane = (pixels * at.pitch * f.code_bytes + kSlack + 63) / 64 * 64;
  uint8_t* out = buffer.reserve(f.x_planes * plane);
  for (int i = 0; i < f.x_planes; ++i) {
    const int64_t used = pixels * at.pitch * f.code_bytes;
    std::memset(out + i * plane + used, 0, static_cast<size_t>(plane - used));
  }
  if (f.code_bytes == 1) {
    make_planes<uint8_t>(p, f, part, canvas, item, at, out, plane);
  } else {
    make_planes<uint16_t>(p, f, part, canvas, item, at, out, plane);
  }
  return {out, at.pitch * f.code_bytes, plane, nullptr};
}

CanvasView make_plain_canvas(const Problem& p, const Canvas& canvas, const Item& item, Buffer& buffer) {
  const auto bytes = static_cast<int>(type_bytes(p.x_type));
  const Format plain{bytes, 1, 1, 1, 0, 0, false};
  const ConvShape& s = p.shape;
  const Layout at{s.in_channels, s.in_channels, 0, s.in_channels};
  if (p.channels_last && !has_margins(p, canvas)) return plain_view(p, item);
  const int64_t used = canvas.h * canvas.w * at.pitch * bytes;
  uint8_t* out = buffer.reserve(used + kSlack);
  if (bytes == 1) {
    make_planes<uint8_t>(p, plain, Part::whole, canvas, item, at, out, 0);
  } else {
    make_planes<uint16_t>(p, plain, Part::whole, canvas, item, at, out, 0);
  }
  return {out, at.pitch * bytes, 0, nullptr};
}

}  // namespace bittwin
