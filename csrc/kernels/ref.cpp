// SPDX-License-Identifier: Apache-2.0
// The `ref` entry of the kernel table: every type pair of the normative kernels. Runs on any CPU.
#include "kernels/conv_ref.h"
#include "kernels/kernels.h"
#include "kernels/linear_ref.h"

namespace bittwin {
namespace {

const char* always_available() {
  return nullptr;
}

template <typename X>
void fill_row(KernelSet& set, InputType type) {
  const auto i = static_cast<size_t>(type);
  set.linear[i][0] = linear_ref<X, int8_t>;
  set.linear[i][1] = linear_ref<X, int16_t>;
  set.conv2d[i][0] = conv2d_ref<X, int8_t>;
  set.conv2d[i][1] = conv2d_ref<X, int16_t>;
  set.conv_transpose2d[i][0] = conv_transpose2d_ref<X, int8_t>;
  set.conv_transpose2d[i][1] = conv_transpose2d_ref<X, int16_t>;
}

}  // namespace

KernelSet ref_kernel_set() {
  KernelSet set{};
  set.name = "ref";
  set.description = "plain C++, normative, any CPU";
  set.unavailable = always_available;
  fill_row<uint8_t>(set, InputType::u8);
  fill_row<int8_t>(set, InputType::s8);
  fill_row<uint16_t>(set, InputType::u16);
  fill_row<int16_t>(set, InputType::s16);
  return set;
}

}  // namespace bittwin
