// SPDX-License-Identifier: Apache-2.0
// One table, best first, `ref` last; BITTWIN_KERNEL=name forces an entry.
#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "kernels/kernels.h"
#include "kernels/loops.h"
#include "kernels/simd/amx.h"

namespace bittwin {
namespace {

const char* always_available() {
  return nullptr;
}

const Loops* no_loops() {
  return nullptr;
}

#if defined(__x86_64__) && defined(__GNUC__)
const char* avx2_unavailable() {
  if (avx2_loops() == nullptr) return "this build has no such loops";
  return __builtin_cpu_supports("avx2") ? nullptr : "the CPU has no AVX2";
}

const char* avx512vnni_unavailable() {
  if (avx512vnni_loops() == nullptr) return "this build has no such loops";
  const bool base = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!base) return "the CPU has no AVX512 (F, BW, DQ, VL)";
  return __builtin_cpu_supports("avx512vnni") ? nullptr : "the CPU has no AVX512-VNNI";
}

// The kernel takes everything but products from AVX512-VNNI.
const char* amx_or_avx512_unavailable() {
  const char* reason = amx_loops() == nullptr ? nullptr : avx512vnni_unavailable();
  return reason != nullptr ? reason : amx_unavailable();
}
#else
const char* amx_or_avx512_unavailable() {
  return amx_unavailable();
}

const char* avx2_unavailable() {
  return "made for x86-64 with GCC or Clang";
}

const char* avx512vnni_unavailable() {
  return "made for x86-64 with GCC or Clang";
}
#endif

std::atomic<const KernelSet*> chosen{nullptr};  // every call asks: no lock

const KernelSet& find(const std::string& name, const char* origin) {
  std::string known;
  for (const KernelSet& set : kernel_table()) {
    known += (known.empty() ? "" : ", ") + std::string(set.name);
    if (name != set.name) continue;
    const char* reason = set.unavailable();
    if (reason == nullptr) return set;
    throw std::runtime_error(std::string(origin) + ": kernel '" + name + "' cannot run on this CPU: " + reason);
  }
  throw std::runtime_error(std::string(origin) + ": found '" + name + "', wanted one of: " + known);
}

const KernelSet& best() {
  for (const KernelSet& set : kernel_table()) {
    if (set.unavailable() == nullptr) return set;
  }
  throw std::logic_error("the reference kernel is always available");
}

}  // namespace

const std::vector<KernelSet>& kernel_table() {
  static const std::vector<KernelSet> table{
      {"amx", "tdpbusd and its signed forms, tiles of 16 x 64 bytes", amx_or_avx512_unavailable, amx_loops},
      {"avx512vnni", "vpdpbusd and vpdpwssd, 512 bits", avx512vnni_unavailable, avx512vnni_loops},
      {"avx2", "vpmaddwd on codes widened to int16, 256 bits", avx2_unavailable, avx2_loops},
      {"ref", "plain C++, normative, any CPU", always_available, no_loops},
  };
  return table;
}

const KernelSet& active_kernel() {
  const KernelSet* set = chosen.load(std::memory_order_acquire);
  if (set != nullptr) return *set;
  const char* forced = std::getenv("BITTWIN_KERNEL");
  const KernelSet* found = forced != nullptr && *forced != '\0' ? &find(forced, "BITTWIN_KERNEL") : &best();
  return chosen.compare_exchange_strong(set, found) ? *found : *set;  // another thread may have been first
}

void force_kernel(const std::string& name) {
  chosen.store(name.empty() ? nullptr : &find(name, "force_kernel"), std::memory_order_release);
}

}  // namespace bittwin
