// SPDX-License-Identifier: Apache-2.0
// The number of threads, and two probes that let the tests watch parallel_for from outside.
#include "kernels/threads.h"

#include <atomic>
#include <cfenv>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bindings/arrays.h"

namespace bittwin {
namespace {

void sleep_for_us(int64_t microseconds) {
  if (microseconds > 0) std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
}

// How often each of `tasks` x `nested` inner tasks ran, in order. Each sleeps sleep_us first; those from task
// `fail` on throw "task i" (-1: none do).
std::vector<int> parallel_probe(int64_t tasks, int64_t nested, int64_t sleep_us, int64_t fail) {
  require(tasks >= 0 && tasks <= 1 << 24 && nested >= 1 && nested <= 1 << 10, "_parallel_probe: sizes");
  std::vector<std::atomic<int>> ran(static_cast<size_t>(tasks * nested));
  {
    const py::gil_scoped_release release;
    parallel_for(tasks, [&](int64_t task) {
      parallel_for(nested, [&](int64_t inner) {
        sleep_for_us(sleep_us);
        ran[static_cast<size_t>(task * nested + inner)].fetch_add(1, std::memory_order_relaxed);
        if (fail >= 0 && task >= fail) throw std::runtime_error("task " + std::to_string(task));
      });
    });
  }
  return {ran.begin(), ran.end()};
}

// The rounding mode (fegetround) that each task finds; each sleeps sleep_us, so that helpers get some.
std::vector<int> parallel_rounding(int64_t tasks, int64_t sleep_us) {
  require(tasks >= 0 && tasks <= 1 << 24, "_parallel_rounding: tasks");
  std::vector<int> modes(static_cast<size_t>(tasks));
  const py::gil_scoped_release release;
  parallel_for(tasks, [&](int64_t task) {
    sleep_for_us(sleep_us);
    modes[static_cast<size_t>(task)] = std::fegetround();
  });
  return modes;
}

}  // namespace

void bind_threads(py::module_& m) {
  m.def("set_num_threads", &set_num_threads, py::arg("n"));
  m.def("num_threads", &num_threads);
  m.def("_parallel_probe", &parallel_probe, py::arg("tasks"), py::arg("nested") = 1, py::arg("sleep_us") = 0,
        py::arg("fail") = -1);
  m.def("_parallel_rounding", &parallel_rounding, py::arg("tasks"), py::arg("sleep_us") = 0);
}

}  // namespace bittwin
