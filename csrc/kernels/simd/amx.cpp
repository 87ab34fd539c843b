// SPDX-License-Identifier: Apache-2.0
// AMX-INT8: products on tiles (amx_product.h says how, and why they are exact), everything else by the AVX512-VNNI
// loops, which every CPU with AMX has.
#include "kernels/simd/amx.h"

#include "kernels/loops.h"

#if BITTWIN_HAS_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BITTWIN_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#include "kernels/simd/amx_tiles.h"

namespace bittwin {
namespace {

constexpr int64_t kChunk = 128;             // units: 16 KiB of weights for a pair of groups, L1 has 48 KiB
constexpr int64_t kItemBytes = 768 * 1024;  // every CPU with AMX has 2 MiB of L2 per core
constexpr int64_t kSmallRows = 16;          // fewer rows leave most of a tile empty

void product(const BlockProduct& b) {
  amx_product<HardwareTiles>(b, kChunk);
}

// Bit `bit` of CPUID leaf 7, edx.
bool cpuid7_edx(int bit) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && ((edx >> bit) & 1U) != 0;
}

// Does the operating system keep tile state (XCR0 bits 17 and 18)?
bool system_keeps_tiles() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || ((ecx >> 27) & 1U) == 0) return false;  // OSXSAVE
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((low >> 17) & 3U) == 3U;
}

// Palette 1 as this file configures it: 8 tiles of 16 rows of 64 bytes.
bool palette_as_wanted() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(0x1D, 1, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (ebx & 0xFFFFU) == 64 && (ebx >> 16) >= 8 && (ecx & 0xFFFFU) >= 16;
}

// Asks Linux for the tile state, for all threads of the process; children of fork inherit the permission, exec ends
// it (Documentation/arch/x86/xstate.rst). Refused, for example, where a signal stack is too small for the state.
bool permitted() {
  constexpr long kRequest = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

const char* find_reason() {
  if (!cpuid7_edx(24) || !cpuid7_edx(25)) return "the CPU has no AMX-INT8";
  if (!system_keeps_tiles()) return "the operating system does not keep AMX tiles";
  if (!palette_as_wanted()) return "the CPU's AMX tiles have another size";
  return permitted() ? nullptr : "the operating system refused AMX tiles to this process (ARCH_REQ_XCOMP_PERM)";
}

}  // namespace

const char* amx_unavailable() {
  static const char* const reason = find_reason();  // asked once per process
  return reason;
}

const Loops* amx_loops() {
  static const Loops loops = [] {
    Loops l = *avx512vnni_loops();
    l.lane = kTileRows;
    l.max_groups = kAmxGroups;
    l.format = amx_format;
    l.product = product;
    l.even_rows = true;
    l.item_bytes = kItemBytes;
    l.small = avx512vnni_loops();
    l.small_rows = kSmallRows;
    return l;
  }();
  return &loops;
}

}  // namespace bittwin

#else
namespace bittwin {
const char* amx_unavailable() {
  return "made for x86-64 Linux with GCC 11 or Clang 12, or later ones";
}
const Loops* amx_loops() {
  return nullptr;
}
}  // namespace bittwin
#endif
