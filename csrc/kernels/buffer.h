// SPDX-License-Identifier: Apache-2.0
// Scratch memory that is reused from call to call: fresh pages cost more than the work done in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace bittwin {

// 64-byte aligned bytes, not initialised, kept until a larger request.
class Buffer {
 public:
  uint8_t* reserve(int64_t bytes) {
    if (bytes > size_) {
      data_.reset();
      size_ = 0;  // nothing is left should the next line throw
      data_.reset(static_cast<uint8_t*>(::operator new(static_cast<size_t>(bytes), std::align_val_t{64})));
      size_ = bytes;
    }
    return data_.get();
  }
  template <typename T>
  T* array(int64_t count) {
    return reinterpret_cast<T*>(reserve(count * static_cast<int64_t>(sizeof(T))));
  }
  int64_t size() const { return size_; }
  uint8_t* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(uint8_t* p) const { ::operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<uint8_t[], Free> data_;
  int64_t size_ = 0;
};

}  // namespace bittwin
