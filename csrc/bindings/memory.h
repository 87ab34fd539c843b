// SPDX-License-Identifier: Apache-2.0
// Memory that comes as an address: tensors of a library that the extension does not know.
#pragma once

#include <cstdint>

namespace bittwin {

template <typename T>
T* memory(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace bittwin
