// SPDX-License-Identifier: Apache-2.0
// Every loop of every kernel against the contract headers, and every kernel's operators against the reference:
// a program of its own, so that it also runs under an emulated CPU without Python.
//
// Runs the kernels of this CPU, and AMX on emulated tiles. Prints what ran, and what did not and why. Exit status:
// 0 when everything is equal.
#include <cstdio>

#include "checks.h"
#include "kernels/kernels.h"

namespace bittwin::test {

void Report::expect(bool equal, const Subject& subject, const std::string& what) {
  ++done_;
  if (equal) return;
  if (++failed_ <= 20) std::printf("DIFFERS %s: %s\n", subject.name.c_str(), what.c_str());
}

namespace {

// Loops without their companion for narrow products, which would hide them.
const Loops* alone(const Loops& loops) {
  static std::vector<const Loops*> kept;  // packed weights know loops by their address
  Loops copy = loops;
  copy.small = nullptr;
  kept.push_back(new Loops(copy));
  return kept.back();
}

std::vector<Subject> subjects_here() {
  std::vector<Subject> subjects{{"emulated-amx", emulated_amx_loops()}};
  for (const KernelSet& set : kernel_table()) {
    const char* reason = set.unavailable();
    const Loops* loops = reason == nullptr ? set.loops() : nullptr;
    if (reason != nullptr) {
      std::printf("skipped %s: %s\n", set.name, reason);
    } else if (loops == nullptr) {
      std::printf("compared with %s: %s\n", set.name, set.description);
    } else {
      subjects.push_back({set.name, loops});
      if (loops->small != nullptr) subjects.push_back({std::string(set.name) + "-always", alone(*loops)});
    }
  }
  return subjects;
}

int run_all() {
  const std::vector<Subject> subjects = subjects_here();
  Report total;
  for (const Subject& s : subjects) {
    Report report;
    check_products(s, report);
    check_depthwise(s, report);
    check_requantize(s, report);
    check_store_and_quantize(s, report);
    std::printf("ran %s: loops, %lld comparisons, %lld differ\n", s.name.c_str(),
                static_cast<long long>(report.done()), static_cast<long long>(report.failed()));
    if (report.failed() != 0) return 1;
  }
  check_choice(total);
  check_problems(subjects, total);
  std::printf("ran operators: %lld comparisons, %lld differ\n", static_cast<long long>(total.done()),
              static_cast<long long>(total.failed()));
  total.expect(emulated_tiles_released(), subjects[0], "tile state is left behind");
  return total.failed() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace bittwin::test

int main() {
  return bittwin::test::run_all();
}
