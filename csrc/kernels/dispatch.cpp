// SPDX-License-Identifier: Apache-2.0
// One table, best first, `ref` last; BITTWIN_KERNEL=name forces an entry.
#include <cstdlib>
#include <mutex>
#include <stdexcept>

#include "kernels/kernels.h"
#include "kernels/loops.h"

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
#else
const char* avx2_unavailable() {
  return "made for x86-64 with GCC or Clang";
}

const char* avx512vnni_unavailable() {
  return "made for x86-64 with GCC or Clang";
}
#endif

std::mutex mutex;
const KernelSet* chosen = nullptr;  // guarded by mutex

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
      {"avx512vnni", "vpdpbusd and vpdpwssd, 512 bits", avx512vnni_unavailable, avx512vnni_loops},
      {"avx2", "vpmaddwd on codes widened to int16, 256 bits", avx2_unavailable, avx2_loops},
      {"ref", "plain C++, normative, any CPU", always_available, no_loops},
  };
  return table;
}

const KernelSet& active_kernel() {
  const std::lock_guard<std::mutex> lock(mutex);
  if (chosen == nullptr) {
    const char* forced = std::getenv("BITTWIN_KERNEL");
    chosen = forced != nullptr && *forced != '\0' ? &find(forced, "BITTWIN_KERNEL") : &best();
  }
  return *chosen;
}

void force_kernel(const std::string& name) {
  const KernelSet* set = name.empty() ? nullptr : &find(name, "force_kernel");
  const std::lock_guard<std::mutex> lock(mutex);
  chosen = set;
}

}  // namespace bittwin
