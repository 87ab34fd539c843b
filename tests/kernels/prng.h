// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same everywhere (the standard's distributions are not), most of them from the ends of
// the range: that is where products saturate, signs change and sums wrap.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace bittwin::test {

class Prng {
 public:
  explicit Prng(uint64_t seed) : state_(seed) {}

  // splitmix64
  uint64_t bits() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }

  // lo..hi, both included
  int64_t in(int64_t lo, int64_t hi) {
    const uint64_t span = static_cast<uint64_t>(hi) - static_cast<uint64_t>(lo) + 1;
    return static_cast<int64_t>(static_cast<uint64_t>(lo) + (span == 0 ? bits() : bits() % span));
  }

  bool chance(int percent) { return in(0, 99) < percent; }

  template <typename T, size_t N>
  T one_of(const T (&choices)[N]) {
    return choices[in(0, static_cast<int64_t>(N) - 1)];
  }

  // 70 of 100 from the ends of the type or around zero
  template <typename T>
  T code() {
    using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
    const Wide lo = std::numeric_limits<T>::min();
    const Wide hi = std::numeric_limits<T>::max();
    if (!chance(70)) return static_cast<T>(bits());
    const Wide ends[] = {lo, lo, hi, hi, static_cast<Wide>(lo + 1), static_cast<Wide>(hi - 1), 0, 1};
    return static_cast<T>(one_of(ends));
  }

  template <typename T>
  std::vector<T> codes(int64_t count) {
    std::vector<T> all(static_cast<size_t>(count));
    for (T& c : all) c = code<T>();
    return all;
  }

 private:
  uint64_t state_;
};

}  // namespace bittwin::test
