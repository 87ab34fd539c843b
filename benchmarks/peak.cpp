// SPDX-License-Identifier: Apache-2.0
// The limit of one core: loops of nothing but the instruction a kernel lives on, operands in registers.
// Compiled by peak.py at benchmark time; every function carries its own target attribute, so the file needs
// no -m flag and runs on any CPU: peak_supported says which loops may be called.
//
// The instructions stand in volatile assembly, so that the compiler can neither hoist a product that does not
// change nor spill an accumulator. Each loop has enough independent accumulators to hide the latency: 12 for
// vpdpbusd and FMA (latency 4 or 5, two per cycle), 6 tiles for AMX (latency 52, one per 16 cycles).
#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <immintrin.h>

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#define ACCUMULATORS12                                                                                  \
  [c0] "+v"(c[0]), [c1] "+v"(c[1]), [c2] "+v"(c[2]), [c3] "+v"(c[3]), [c4] "+v"(c[4]), [c5] "+v"(c[5]), \
      [c6] "+v"(c[6]), [c7] "+v"(c[7]), [c8] "+v"(c[8]), [c9] "+v"(c[9]), [c10] "+v"(c[10]), [c11] "+v"(c[11])
#define TWELVE_TIMES(instruction)                                                       \
  instruction " %[a], %[b], %[c0]\n\t" instruction " %[a], %[b], %[c1]\n\t" instruction \
              " %[a], %[b], %[c2]\n\t" instruction " %[a], %[b], %[c3]\n\t" instruction \
              " %[a], %[b], %[c4]\n\t" instruction " %[a], %[b], %[c5]\n\t" instruction \
              " %[a], %[b], %[c6]\n\t" instruction " %[a], %[b], %[c7]\n\t" instruction \
              " %[a], %[b], %[c8]\n\t" instruction " %[a], %[b], %[c9]\n\t" instruction \
              " %[a], %[b], %[c10]\n\t" instruction " %[a], %[b], %[c11]"

// 12 x 16 lanes x 4 products.
__attribute__((target("avx512f,avx512vnni"))) void avx512_vnni(int64_t loops) {
  __m512i c[12] = {};
  const __m512i a = _mm512_set1_epi8(1);
  const __m512i b = _mm512_set1_epi8(2);
  for (int64_t i = 0; i < loops; ++i) {
    asm volatile(TWELVE_TIMES("vpdpbusd") : ACCUMULATORS12 : [a] "v"(a), [b] "v"(b));
  }
}

// 6 x 8 lanes x 2 products, and the addition that vpmaddwd lacks.
__attribute__((target("avx2"))) void avx2(int64_t loops) {
  __m256i c[6] = {};
  __m256i t[6];
  const __m256i a = _mm256_set1_epi16(1);
  const __m256i b = _mm256_set1_epi16(2);
  for (int64_t i = 0; i < loops; ++i) {
    asm volatile(
        "vpmaddwd %[a], %[b], %[t0]\n\t vpaddd %[t0], %[c0], %[c0]\n\t"
        "vpmaddwd %[a], %[b], %[t1]\n\t vpaddd %[t1], %[c1], %[c1]\n\t"
        "vpmaddwd %[a], %[b], %[t2]\n\t vpaddd %[t2], %[c2], %[c2]\n\t"
        "vpmaddwd %[a], %[b], %[t3]\n\t vpaddd %[t3], %[c3], %[c3]\n\t"
        "vpmaddwd %[a], %[b], %[t4]\n\t vpaddd %[t4], %[c4], %[c4]\n\t"
        "vpmaddwd %[a], %[b], %[t5]\n\t vpaddd %[t5], %[c5], %[c5]"
        : [c0] "+x"(c[0]), [c1] "+x"(c[1]), [c2] "+x"(c[2]), [c3] "+x"(c[3]), [c4] "+x"(c[4]), [c5] "+x"(c[5]),
          [t0] "=&x"(t[0]), [t1] "=&x"(t[1]), [t2] "=&x"(t[2]), [t3] "=&x"(t[3]), [t4] "=&x"(t[4]), [t5] "=&x"(t[5])
        : [a] "x"(a), [b] "x"(b));
  }
}

// 12 x 16 lanes.
__attribute__((target("avx512f"))) void fma_zmm(int64_t loops) {
  __m512 c[12] = {};
  const __m512 a = _mm512_set1_ps(1.0F);
  const __m512 b = _mm512_set1_ps(0.5F);
  for (int64_t i = 0; i < loops; ++i) {
    asm volatile(TWELVE_TIMES("vfmadd231ps") : ACCUMULATORS12 : [a] "v"(a), [b] "v"(b));
  }
}

// 12 x 8 lanes.
__attribute__((target("avx2,fma"))) void fma_ymm(int64_t loops) {
  __m256 c[12] = {};
  const __m256 a = _mm256_set1_ps(1.0F);
  const __m256 b = _mm256_set1_ps(0.5F);
  for (int64_t i = 0; i < loops; ++i) {
    asm volatile(TWELVE_TIMES("vfmadd231ps") : ACCUMULATORS12 : [a] "v"(a), [b] "v"(b));
  }
}

#if defined(__linux__) && !defined(PEAK_NO_AMX)
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

#define SIX_TILES(instruction)                                                                    \
  instruction " %%tmm7, %%tmm6, %%tmm0\n\t" instruction " %%tmm7, %%tmm6, %%tmm1\n\t" instruction \
              " %%tmm7, %%tmm6, %%tmm2\n\t" instruction " %%tmm7, %%tmm6, %%tmm3\n\t" instruction \
              " %%tmm7, %%tmm6, %%tmm4\n\t" instruction " %%tmm7, %%tmm6, %%tmm5"

void load_tiles() {
  const TileConfig config;
  asm volatile("ldtilecfg %0" : : "m"(config));
  asm volatile(
      "tilezero %%tmm0\n\t tilezero %%tmm1\n\t tilezero %%tmm2\n\t tilezero %%tmm3\n\t"
      "tilezero %%tmm4\n\t tilezero %%tmm5\n\t tilezero %%tmm6\n\t tilezero %%tmm7" ::);
}

// 6 x 16 rows x 16 columns x 64 products.
void amx_int8(int64_t loops) {
  load_tiles();
  for (int64_t i = 0; i < loops; ++i) asm volatile(SIX_TILES("tdpbusd")::);
  asm volatile("tilerelease" ::);
}

// 6 x 16 rows x 16 columns x 32 products.
void amx_bf16(int64_t loops) {
  load_tiles();
  for (int64_t i = 0; i < loops; ++i) asm volatile(SIX_TILES("tdpbf16ps")::);
  asm volatile("tilerelease" ::);
}

// The tile unit's state has to be asked for; a refusal is an answer, not an error.
bool amx_permitted() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool amx_has(unsigned bit) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return ((edx >> 24) & 1U) != 0 && ((edx >> bit) & 1U) != 0 && amx_permitted();
}
#else
void amx_int8(int64_t) {}
void amx_bf16(int64_t) {}
bool amx_has(unsigned) {
  return false;
}
#endif

struct Loop {
  const char* name;
  int64_t macs;  // per turn of the loop
  void (*run)(int64_t loops);
  bool (*supported)();
};

bool has_vnni() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni");
}
bool has_avx2() {
  return __builtin_cpu_supports("avx2");
}
bool has_avx512() {
  return __builtin_cpu_supports("avx512f");
}
bool has_fma() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool has_amx_int8() {
  return amx_has(25);
}
bool has_amx_bf16() {
  return amx_has(22);
}

const Loop kLoops[] = {
    {"amx_int8", 6LL * 16 * 16 * 64, amx_int8, has_amx_int8},
    {"avx512_vnni", 12LL * 16 * 4, avx512_vnni, has_vnni},
    {"avx2", 6LL * 8 * 2, avx2, has_avx2},
    {"amx_bf16", 6LL * 16 * 16 * 32, amx_bf16, has_amx_bf16},
    {"float32_zmm", 12LL * 16, fma_zmm, has_avx512},
    {"float32_ymm", 12LL * 8, fma_ymm, has_fma},
};
constexpr int kCount = static_cast<int>(sizeof(kLoops) / sizeof(kLoops[0]));

}  // namespace

extern "C" {
int peak_count() {
  return kCount;
}
const char* peak_name(int i) {
  return kLoops[i].name;
}
int peak_supported(int i) {
  return kLoops[i].supported() ? 1 : 0;
}
int64_t peak_macs(int i) {
  return kLoops[i].macs;
}
void peak_run(int i, int64_t loops) {
  kLoops[i].run(loops);
}
}
#else
extern "C" {
int peak_count() {
  return 0;
}
const char* peak_name(int) {
  return "";
}
int peak_supported(int) {
  return 0;
}
int64_t peak_macs(int) {
  return 0;
}
void peak_run(int, int64_t) {}
}
#endif
