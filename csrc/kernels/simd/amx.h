// SPDX-License-Identifier: Apache-2.0
// Whether AMX loops can be made and run (amx_loops of kernels/loops.h).
#pragma once

// Older compilers come with assemblers that do not know the instructions.
#if defined(__x86_64__) && defined(__linux__) && defined(__clang__)
#define BITTWIN_HAS_AMX (__clang_major__ >= 12)
#elif defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define BITTWIN_HAS_AMX (__GNUC__ >= 11)
#else
#define BITTWIN_HAS_AMX 0
#endif

namespace bittwin {

// nullptr when CPU and operating system allow AMX to this process, otherwise the reason why not. The first call
// asks the operating system for it. AVX512 is not looked at.
const char* amx_unavailable();

}  // namespace bittwin
