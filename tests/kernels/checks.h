// SPDX-License-Identifier: Apache-2.0
// What the kernel test checks, and how it reports.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/loops.h"

namespace bittwin::test {

// Loops under test.
struct Subject {
  std::string name;
  const Loops* loops;
};

// Counts comparisons; prints the first few that fail.
class Report {
 public:
  void expect(bool equal, const Subject& subject, const std::string& what);
  int64_t done() const { return done_; }
  int64_t failed() const { return failed_; }

 private:
  int64_t done_ = 0;
  int64_t failed_ = 0;
};

// AMX products on emulated tiles, everything else in plain C++: runs on any CPU.
const Loops* emulated_amx_loops();
// Whether emulated products left no tile state behind.
bool emulated_tiles_released();

// Each checks one subject against plain loops over the contract headers.
void check_products(const Subject& subject, Report& report);
void check_depthwise(const Subject& subject, Report& report);
void check_requantize(const Subject& subject, Report& report);
void check_store_and_quantize(const Subject& subject, Report& report);
// Which products a companion for narrow ones gets (choose_loops.h).
void check_choice(Report& report);
// Whole operators, every subject against run_ref.
void check_problems(const std::vector<Subject>& subjects, Report& report);

}  // namespace bittwin::test
