// SPDX-License-Identifier: Apache-2.0
// Masks on their way to torch.
#pragma once

#include <cstring>
#include <utility>

#include "bindings/arrays.h"
#include "kernels/buffer.h"
#include "kernels/qat.h"

namespace bittwin {

inline void pack_into(const uint8_t* flags, int64_t count, uint8_t* bits) {
  bits[count / 8] = 0;  // the byte to spare
  bits[(count + 7) / 8] = 0;
  pack_bits(active_kernel().loops(), flags, count, bits);
}

// Bits to a fresh array of (count + 7) / 8 bytes and one to spare, as tracing wants it (nn/forward.py).
inline py::object bits_array(bool all, const Buffer& bits, int64_t count) {
  if (all) return py::none();
  py::array_t<uint8_t> array((count + 7) / 8 + 1);
  std::memcpy(array.mutable_data(), bits.data(), static_cast<size_t>(array.size()));
  return std::move(array);
}

void bind_qat_weight(py::module_& m);

}  // namespace bittwin
