// SPDX-License-Identifier: Apache-2.0
// The forward pass of a training layer: float32 in, the integer datapath, float32 out, in one sweep.
//
// Per block of images (a linear layer's row is an image of 1 x 1 pixels):
//   codes = quantize(x)                 kept for the backward pass, with one bit `inside` per input
//   acc   = the layer's kernel on codes exact INT32, proven by the caller
//   y     = requantise(acc) / codes_per_unit, with one bit `inside` per output
// There is no arithmetic here that the contract headers do not have: training computes what the chip does.
// Bits are packed least significant first, in NCHW order.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <functional>

#include "bittwin/quantize.h"
#include "kernels/requantizer.h"

namespace bittwin {

// A 4-axis array with strides in elements; NCHW order of axes, any memory format.
template <typename T>
struct Strided {
  T* data;
  std::array<int64_t, 4> shape;
  std::array<int64_t, 4> stride;
};

// Packs bits into bytes; null takes no bits. `all` tells whether every bit was set.
class BitWriter {
 public:
  BitWriter(uint8_t* bytes, int64_t first) : bytes_(bytes), next_(first) {}
  void put(bool bit) {
    all_ = all_ && bit;
    if (bytes_ != nullptr) {
      const int at = static_cast<int>(next_ & 7);
      if (at == 0) bytes_[next_ >> 3] = 0;
      bytes_[next_ >> 3] = static_cast<uint8_t>(bytes_[next_ >> 3] | (bit ? 1 << at : 0));
    }
    ++next_;
  }
  bool all() const { return all_; }
  int64_t next() const { return next_; }

 private:
  uint8_t* bytes_;
  int64_t next_;
  bool all_ = true;
};

// Padding written around every image: codes of padded positions are `code` (0, or the shift).
struct Frame {
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  int32_t code = 0;
};

// Quantises images [first, last); returns false at a NaN. codes is dense [n, c, top+h+bottom, left+w+right].
template <typename Code>
bool quantize_images(const Strided<const float>& x, int64_t first, int64_t last, const InputRule<float>& rule,
                     const Frame& frame, Code* codes, BitWriter& inside) {
  const int64_t in_h = x.shape[2], in_w = x.shape[3];
  const int64_t full_w = in_w + frame.left + frame.right;
  const int64_t full_h = in_h + frame.top + frame.bottom;
  const bool framed = full_w != in_w || full_h != in_h;
  for (int64_t n = first; n < last; ++n) {
    for (int64_t c = 0; c < x.shape[1]; ++c) {
      Code* plane = codes + (n * x.shape[1] + c) * full_h * full_w;
      if (framed) {
        for (int64_t i = 0; i < full_h * full_w; ++i) plane[i] = static_cast<Code>(frame.code);
      }
      for (int64_t h = 0; h < in_h; ++h) {
        const float* row = x.data + n * x.stride[0] + c * x.stride[1] + h * x.stride[2];
        Code* out = plane + (h + frame.top) * full_w + frame.left;
        for (int64_t w = 0; w < in_w; ++w) {
          const float v = row[w * x.stride[3]];
          if (std::isnan(v)) return false;
          const InputCode q = quantize_value(v, rule);
          out[w] = static_cast<Code>(q.code);
          inside.put(q.inside);
        }
      }
    }
  }
  return true;
}

struct OutputRule {
  const Requantizer* rule;
  const SplitRule* split;  // null: one round
  const int32_t* bias_digital;
  float codes_per_unit;
};

inline bool inside_output(int32_t acc, const Requantizer& rule, const TwoStage& p) {
  if (!rule.is_f32()) return inside_limits(acc, p);
  const float v = half_even_f32_scaled(acc, rule.scale_product, rule.codes_per_unit);
  return v >= static_cast<float>(p.lo) && v <= static_cast<float>(p.hi);
}

// Accumulators of images [first, last), dense, to real values. low_inside takes bits only of a split layer
// whose low code is limited.
inline void finish_images(const int32_t* acc, const int32_t* acc_high, const Strided<float>& y, int64_t first,
                          int64_t last, const OutputRule& out, BitWriter& inside, BitWriter& low_inside) {
  const Requantizer& rule = *out.rule;
  const TwoStage& p = rule.stages[0];
  TwoStage low_limits = p;
  if (out.split != nullptr) {
    low_limits.lo = out.split->low_lo;
    low_limits.hi = out.split->low_hi;
  }
  int64_t i = 0;
  for (int64_t n = first; n < last; ++n) {
    for (int64_t c = 0; c < y.shape[1]; ++c) {
      for (int64_t h = 0; h < y.shape[2]; ++h) {
        float* row = y.data + n * y.stride[0] + c * y.stride[1] + h * y.stride[2];
        for (int64_t w = 0; w < y.shape[3]; ++w, ++i) {
          int64_t code = 0;
          if (out.split == nullptr) {
            code = rule.is_f32()
                       ? requantize_half_even_f32(acc[i], rule.scale_product, rule.codes_per_unit, p.lo, p.hi)
                       : requantize(acc[i], p);
            inside.put(inside_output(acc[i], rule, p));
          } else {
            const int32_t digital = out.bias_digital != nullptr ? out.bias_digital[c] : 0;
            const int64_t sum =
                low_code(acc[i], rule, *out.split) + high_code(acc_high[i], digital, rule, *out.split);
            code = saturate(sum, p.lo, p.hi);
            inside.put(code == sum);
            low_inside.put(!out.split->limit_low || inside_output(acc[i], rule, low_limits));
          }
          row[w * y.stride[3]] = static_cast<float>(code) / out.codes_per_unit;
        }
      }
    }
  }
}

}  // namespace bittwin
