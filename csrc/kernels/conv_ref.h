// SPDX-License-Identifier: Apache-2.0
// conv2d_xxyy_s32_ref and conv_transpose2d_xxyy_s32_ref: the normative convolutions.
//
// Both walk (output channel, input channel, kernel position) and add one weight times one shifted plane;
// a position outside the input is a zero and adds nothing.
//   conv2d:            acc[o, oy, ox] += w[o, c, ky, kx] * x[c, oy * stride + ky * dilation - pad, ...]
//   conv_transpose2d:  acc[o, iy * stride + ky * dilation - pad, ...] += w[c, o, ky, kx] * x[c, iy, ix]
#pragma once

#include "kernels/kernels.h"

namespace bittwin {

// acc += w * x with the wrap of uint32.
template <typename X>
inline void multiply_add(int32_t& acc, X x, int32_t w) {
  acc = static_cast<int32_t>(static_cast<uint32_t>(acc) + static_cast<uint32_t>(int32_t{x} * w));
}

inline void fill_bias(const int32_t* bias, int32_t* acc, const ConvShape& s) {
  const int64_t plane = s.out_h * s.out_w;
  for (int64_t i = 0; i < s.batch * s.out_channels; ++i) {
    const int32_t b = bias != nullptr ? bias[i % s.out_channels] : 0;
    for (int64_t p = 0; p < plane; ++p) acc[i * plane + p] = b;
  }
}

template <typename X, typename W>
void conv2d_ref(const void* x_data, const void* w_data, const int32_t* bias, int32_t* acc, const ConvShape& s) {
  const X* x = static_cast<const X*>(x_data);
  const W* w = static_cast<const W*>(w_data);
  const int64_t group_in = s.in_channels / s.groups;
  const int64_t group_out = s.out_channels / s.groups;
  fill_bias(bias, acc, s);
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t o = 0; o < s.out_channels; ++o) {
      int32_t* out = acc + (n * s.out_channels + o) * s.out_h * s.out_w;
      for (int64_t c = 0; c < group_in; ++c) {
        const X* in = x + (n * s.in_channels + o / group_out * group_in + c) * s.in_h * s.in_w;
        for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
          for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
            const int32_t weight = w[((o * group_in + c) * s.kernel_h + ky) * s.kernel_w + kx];
            for (int64_t oy = 0; oy < s.out_h; ++oy) {
              const int64_t iy = oy * s.stride_h + ky * s.dilation_h - s.pad_top;
              if (iy < 0 || iy >= s.in_h) continue;
              for (int64_t ox = 0; ox < s.out_w; ++ox) {
                const int64_t ix = ox * s.stride_w + kx * s.dilation_w - s.pad_left;
                if (ix < 0 || ix >= s.in_w) continue;
                multiply_add(out[oy * s.out_w + ox], in[iy * s.in_w + ix], weight);
              }
            }
          }
        }
      }
    }
  }
}

template <typename X, typename W>
void conv_transpose2d_ref(const void* x_data, const void* w_data, const int32_t* bias, int32_t* acc,
                          const ConvShape& s) {
  const X* x = static_cast<const X*>(x_data);
  const W* w = static_cast<const W*>(w_data);
  fill_bias(bias, acc, s);
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t o = 0; o < s.out_channels; ++o) {
      int32_t* out = acc + (n * s.out_channels + o) * s.out_h * s.out_w;
      for (int64_t c = 0; c < s.in_channels; ++c) {
        const X* in = x + (n * s.in_channels + c) * s.in_h * s.in_w;
        for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
          for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
            const int32_t weight = w[((c * s.out_channels + o) * s.kernel_h + ky) * s.kernel_w + kx];
            for (int64_t iy = 0; iy < s.in_h; ++iy) {
              const int64_t oy = iy * s.stride_h + ky * s.dilation_h - s.pad_top;
              if (oy < 0 || oy >= s.out_h) continue;
              for (int64_t ix = 0; ix < s.in_w; ++ix) {
                const int64_t ox = ix * s.stride_w + kx * s.dilation_w - s.pad_left;
                if (ox < 0 || ox >= s.out_w) continue;
                multiply_add(out[oy * s.out_w + ox], in[iy * s.in_w + ix], weight);
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace bittwin
