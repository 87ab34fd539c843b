// SPDX-License-Identifier: Apache-2.0
// Float rules are exact in IEEE's default environment: round to nearest, subnormal numbers kept. A thread may have
// another one (fesetround, torch.set_flush_denormal), which would change codes, each kernel's in its own way.
#pragma once

#include <cfenv>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace bittwin {

#if defined(__SSE2__)
// All floats of x86-64 go by MXCSR. Looking costs a nanosecond or two, which a small layer does not feel.
struct FloatEnvironment {
  static constexpr unsigned kUsual = 0x1F80;  // no exception traps
  static constexpr unsigned kRules = 0xE040;  // rounding, flush to zero, subnormals are zeros
  unsigned before = _mm_getcsr();
  void make_plain() const {
    if ((before & kRules) != 0) _mm_setcsr(kUsual);
  }
  void restore() const {
    if ((before & kRules) != 0) _mm_setcsr(before);
  }
};
#else
struct FloatEnvironment {
  std::fenv_t before{};
  FloatEnvironment() { std::fegetenv(&before); }
  void make_plain() const { std::fesetenv(FE_DFL_ENV); }
  void restore() const { std::fesetenv(&before); }
};
#endif

// While it lives, its thread computes in the default environment, and so do the helpers of its parallel_for.
class PlainFloats {
 public:
  PlainFloats() { thread_.make_plain(); }
  ~PlainFloats() { thread_.restore(); }
  PlainFloats(const PlainFloats&) = delete;
  PlainFloats& operator=(const PlainFloats&) = delete;

 private:
  FloatEnvironment thread_;
};

}  // namespace bittwin
