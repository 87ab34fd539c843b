// SPDX-License-Identifier: Apache-2.0
// A pool of sleeping helpers. std::thread and not OpenMP: its usual runtime spins between jobs, and hangs in a
// child that was forked after a job.
#include "kernels/threads.h"

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace bittwin {
namespace {

// Read at loading time, when no other thread changes the environment yet. Never freed: threads may still ask
// while static objects are destroyed.
const std::string& requested = *[] {
  const char* text = std::getenv("BITTWIN_NUM_THREADS");
  return new std::string(text == nullptr ? "" : text);
}();

std::atomic<int> chosen{0};         // 0: the default
std::atomic<int> default_count{0};  // 0: not known yet

int find_default() {
  if (requested.empty()) return hardware_threads();
  int n = 0;
  const char* end = requested.data() + requested.size();
  const auto [stop, error] = std::from_chars(requested.data(), end, n);
  if (error != std::errc() || stop != end || n < 1 || n > kMaxThreads) {
    throw std::runtime_error("BITTWIN_NUM_THREADS: found '" + requested + "', wanted an integer in 1.." +
                             std::to_string(kMaxThreads));
  }
  return n;
}

thread_local bool inside_body = false;
thread_local int count_here = 0;  // 0: the process's number

// One call of parallel_for; lives on its caller's stack.
struct Job {
  Job(int64_t count, detail::TaskCall function, void* object) : tasks(count), call(function), body(object) {
    std::fegetenv(&environment);
  }

  // Takes tasks until there are none left.
  void work() noexcept {
    for (;;) {
      const int64_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks) return;
      try {
        call(body, task);
      } catch (...) {
        next.store(tasks, std::memory_order_relaxed);
        const std::lock_guard<std::mutex> lock(mutex);
        if (failed < 0 || task < failed) {
          failed = task;
          error = std::current_exception();
        }
      }
    }
  }

  const int64_t tasks;
  const detail::TaskCall call;
  void* const body;
  std::fenv_t environment;
  std::mutex mutex;                          // of the two below
  int64_t failed = -1;                       // lowest task that threw
  std::exception_ptr error;                  // what it threw
  alignas(64) std::atomic<int64_t> next{0};  // apart from what every task reads
};

class Pool {
 public:
  // False when another job has the pool, or no helper can be made.
  bool run(Job& job, int helpers) {
    const std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    if (!turn) return false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      grow(helpers);
      helpers = std::min(helpers, workers_);
      if (helpers == 0) return false;
      job_ = &job;
      seats_ = helpers;
    }
    for (int i = 0; i < helpers; ++i) wake_.notify_one();
    inside_body = true;
    job.work();
    inside_body = false;
    // Helpers that have not woken up by now are not waited for: nothing is left for them to do.
    std::unique_lock<std::mutex> lock(mutex_);
    seats_ = 0;
    done_.wait(lock, [this] { return running_ == 0; });
    job_ = nullptr;
    return true;
  }

 private:
  void grow(int helpers) {
    try {
      for (; workers_ < helpers; ++workers_) std::thread(&Pool::serve, this).detach();
    } catch (const std::exception&) {
      // The system has no thread left for us: the same work on fewer.
    }
  }

  void serve() {
    inside_body = true;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return seats_ > 0; });
      --seats_;
      ++running_;
      Job& job = *job_;
      lock.unlock();
      std::fesetenv(&job.environment);
      job.work();
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::mutex turn_;   // held by the one caller whose job runs
  std::mutex mutex_;  // of everything below
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  int seats_ = 0;    // helpers the job still wants
  int running_ = 0;  // helpers at work on it
  int workers_ = 0;  // helpers alive
};

// Never destroyed: the helpers are detached and sleep in it until the process ends, also while static objects are
// destroyed, when joining them could hang (on Windows they may be gone already).
std::atomic<Pool*> pool{nullptr};

#if defined(_WIN32)
constexpr bool kForkSafe = true;
#else
// The child of a fork has none of the parent's helpers, and mutexes in whatever state they were in. It leaves all
// of that behind, a few hundred bytes. No lock is taken here and nothing allocated.
const bool kForkSafe =
    pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr, std::memory_order_relaxed); }) == 0;
#endif

Pool& the_pool() {
  Pool* current = pool.load(std::memory_order_acquire);
  if (current != nullptr) return *current;
  // Not a function's static: its hidden lock could be held by another thread at the moment of a fork.
  auto fresh = std::make_unique<Pool>();
  if (pool.compare_exchange_strong(current, fresh.get(), std::memory_order_acq_rel)) current = fresh.release();
  return *current;
}

}  // namespace

int hardware_threads() {
  int n = static_cast<int>(std::min(std::thread::hardware_concurrency(), static_cast<unsigned>(kMaxThreads)));
#if defined(__linux__)
  cpu_set_t allowed;  // of 1024 CPUs; the call refuses larger machines, and n stays
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) n = CPU_COUNT(&allowed);
#endif
  return std::max(n, 1);
}

void set_num_threads(int n) {
  if (n < 0 || n > kMaxThreads) {
    throw std::invalid_argument("set_num_threads: found " + std::to_string(n) + ", wanted 0.." +
                                std::to_string(kMaxThreads));
  }
  default_count.store(0, std::memory_order_relaxed);
  chosen.store(n, std::memory_order_relaxed);
}

ThreadCountHere::ThreadCountHere(int n) : before_(count_here) {
  if (n > 0) count_here = std::min(n, kMaxThreads);
}

ThreadCountHere::~ThreadCountHere() {
  count_here = before_;
}

int num_threads() {
  if (count_here > 0) return count_here;
  int n = chosen.load(std::memory_order_relaxed);
  if (n == 0) n = default_count.load(std::memory_order_relaxed);
  if (n == 0) {
    n = find_default();
    default_count.store(n, std::memory_order_relaxed);
  }
  return n;
}

namespace detail {

int threads_here() {
  return inside_body || !kForkSafe ? 1 : num_threads();
}

bool run_on_pool(int threads, int64_t tasks, TaskCall call, void* body) {
  Job job(tasks, call, body);
  if (!the_pool().run(job, static_cast<int>(std::min<int64_t>(threads, tasks)) - 1)) return false;
  if (job.error) std::rethrow_exception(job.error);
  return true;
}

}  // namespace detail
}  // namespace bittwin
