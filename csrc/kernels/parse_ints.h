// SPDX-License-Identifier: Apache-2.0
// Strict reading of integers in text: rows of numbers, one row a line. A mapper dump is mostly this.
//
// Contract: numbers are [+-]digits separated by any of `separators`, spaces, tabs or carriage returns;
// empty lines are skipped; a number outside [lo, hi], anything that is no number, a row with another count
// than `columns` (-1: the first row decides) and more than max_rows rows throw ParseError, whose text names
// the 1-based line and field. Nothing is guessed and nothing is rounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace bittwin {

struct ParseError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct IntRows {
  std::vector<int32_t> values;
  int64_t rows = 0;
  int64_t columns = 0;
};

IntRows parse_int_rows(const char* data, size_t size, int64_t columns, int64_t lo, int64_t hi,
                       const std::string& separators, int64_t max_rows);

}  // namespace bittwin
