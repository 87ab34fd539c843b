// SPDX-License-Identifier: Apache-2.0
// One table, best first, `ref` last; BITTWIN_KERNEL=name forces an entry.
#include <cstdlib>
#include <mutex>
#include <stdexcept>

#include "kernels/kernels.h"

namespace bittwin {
namespace {

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
  static const std::vector<KernelSet> table{ref_kernel_set()};
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
