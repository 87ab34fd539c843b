// SPDX-License-Identifier: Apache-2.0
#include "kernels/parse_ints.h"

namespace bittwin {
namespace {

// What stands at `p`, made safe for a message: at most 24 characters, non-printing ones as '?'.
std::string token_at(const char* p, const char* end, const std::string& separators) {
  std::string token;
  while (p < end && *p != '\n' && *p != ' ' && *p != '\t' && *p != '\r' &&
         separators.find(*p) == std::string::npos && token.size() < 24) {
    token += *p >= ' ' && *p <= '~' ? *p : '?';
    ++p;
  }
  return token;
}

}  // namespace

IntRows parse_int_rows(const char* data, size_t size, int64_t columns, int64_t lo, int64_t hi,
                       const std::string& separators, int64_t max_rows) {
  bool skip[256] = {};
  for (const char c : separators + " \t\r") skip[static_cast<unsigned char>(c)] = true;
  IntRows result;
  result.columns = columns;
  const char* p = data;
  const char* const end = data + size;
  for (int64_t line = 1; p < end; ++line) {
    int64_t field = 0;
    while (p < end && *p != '\n') {
      if (skip[static_cast<unsigned char>(*p)]) {
        ++p;
        continue;
      }
      ++field;
      const char* const start = p;
      const bool negative = *p == '-';
      if (*p == '-' || *p == '+') ++p;
      int64_t value = 0;
      int digits = 0;
      while (p < end && *p >= '0' && *p <= '9') {
        if (value < (int64_t{1} << 52)) value = value * 10 + (*p - '0');  // beyond: out of any range anyway
        ++p;
        ++digits;
      }
      const bool ends_here = p == end || *p == '\n' || skip[static_cast<unsigned char>(*p)];
      if (negative) value = -value;
      if (digits == 0 || !ends_here || value < lo || value > hi) {
        throw ParseError("line " + std::to_string(line) + ", field " + std::to_string(field) + ": found '" +
                         token_at(start, end, separators) + "', wanted an integer in " + std::to_string(lo) + ".." +
                         std::to_string(hi));
      }
      if (result.columns >= 0 && field > result.columns) continue;  // counted below, not stored
      result.values.push_back(static_cast<int32_t>(value));
    }
    if (p < end) ++p;  // the newline
    if (field == 0) continue;
    if (result.columns < 0) result.columns = field;
    if (field != result.columns) {
      throw ParseError("line " + std::to_string(line) + ": found " + std::to_string(field) + " numbers, wanted " +
                       std::to_string(result.columns));
    }
    if (++result.rows > max_rows) {
      throw ParseError("line " + std::to_string(line) + ": found more than " + std::to_string(max_rows) + " rows");
    }
  }
  if (result.columns < 0) result.columns = 0;
  return result;
}

}  // namespace bittwin
