// SPDX-License-Identifier: Apache-2.0
// Runs the tasks of a kernel on several threads. Results never depend on how many there are.
//
// Contract of parallel_for(tasks, body):
//   - body(task) is called for every task in [0, tasks), each exactly once; nothing for tasks <= 0.
//     It returns when all calls have returned, and the caller sees everything they wrote.
//   - The caller works too, with at most num_threads() - 1 sleeping helpers beside it. Tasks are handed out one by
//     one in rising order, so a task should be worth some microseconds; waking a helper costs about as much.
//   - Tasks are independent: none waits for another, none writes what another reads or writes.
//   - An exception stops the handing out. What is thrown in the caller is the exception of the lowest task that
//     failed, which is the one a plain loop would have met: every lower task had begun before, and has ended.
//   - A plain loop, without locks or allocation, when tasks <= 1, when num_threads() == 1, and inside a body that
//     itself runs on several threads. Also a plain loop while another thread's job has the helpers: no call ever
//     waits for another one's job.
//   - Helpers compute with the caller's floating-point environment (rounding mode, subnormals).
//   - After fork() the child starts with no helpers and makes its own. A body must not fork, nor touch Python.
//
// Example: rows of a product, eight to a task. 100 rows make 13 tasks; the last one has rows 96 to 99.
//   parallel_for((rows + 7) / 8, [&](int64_t task) {
//     for (int64_t r = task * 8; r < std::min(rows, task * 8 + 8); ++r) acc[r] = dot(x + r * k, w, k);
//   });
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace bittwin {

// More than any machine of today has use for: a slip of the keyboard does not become a million threads.
inline constexpr int kMaxThreads = 1024;

// CPUs this process may run on (its affinity mask where the system has one), 1 to kMaxThreads.
int hardware_threads();

// Threads a job may use, the caller among them; for the whole process. 0 goes back to the default: what
// BITTWIN_NUM_THREADS said when the library was loaded, else hardware_threads(), counted at the next use.
// Throws std::invalid_argument outside 0..kMaxThreads.
void set_num_threads(int n);

// While it lives, jobs begun on its thread use at most n threads, whatever the process's number is: another
// library's setting for one call. 0 changes nothing; more than kMaxThreads counts as that.
class ThreadCountHere {
 public:
  explicit ThreadCountHere(int n);
  ~ThreadCountHere();
  ThreadCountHere(const ThreadCountHere&) = delete;
  ThreadCountHere& operator=(const ThreadCountHere&) = delete;

 private:
  int before_;
};

// The number in force. Throws std::runtime_error when it is BITTWIN_NUM_THREADS's and that is no number in
// 1..kMaxThreads; parallel_for of several tasks throws it too, before it begins.
int num_threads();

namespace detail {

using TaskCall = void (*)(void* body, int64_t task);

// num_threads(), or 1 on a thread that is inside a body.
int threads_here();

// Runs the job, or does nothing and returns false when the helpers are taken or cannot be made.
bool run_on_pool(int threads, int64_t tasks, TaskCall call, void* body);

}  // namespace detail

template <typename F>
void parallel_for(int64_t tasks, F&& body) {
  const int threads = tasks > 1 ? detail::threads_here() : 1;
  if (threads > 1) {
    using Body = std::remove_reference_t<F>;
    const detail::TaskCall call = [](void* b, int64_t task) { (*static_cast<Body*>(b))(task); };
    void* address = const_cast<void*>(static_cast<const void*>(std::addressof(body)));
    if (detail::run_on_pool(threads, tasks, call, address)) return;
  }
  for (int64_t task = 0; task < tasks; ++task) body(task);
}

}  // namespace bittwin
