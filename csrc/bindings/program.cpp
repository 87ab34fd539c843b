// SPDX-License-Identifier: Apache-2.0
// Chains of layers as one call (kernels/program.h).
#include "kernels/program.h"

#include <memory>
#include <utility>
#include <vector>

#include "bindings/rules.h"
#include "bindings/weights.h"

namespace bittwin {
namespace {

// Steps, and the Python objects that they point into.
class Program {
 public:
  explicit Program(int64_t inputs, bool is_signed) : inputs_(inputs), width_(inputs), signed_(is_signed) {
    require(inputs >= 0, "program: inputs");
  }

  void add_linear(const py::object& weight, const std::optional<py::array>& bias, const py::object& rule,
                  bool x_unsigned, int32_t x_high) {
    const WeightArg w = weight_argument(weight);
    require(w.cache != nullptr && w.shape.size() == 2 && w.shape[1] == width_, "program: weight");
    require(x_unsigned ? x_high >= 0 && x_high <= 255 : signed_, "program: input range");
    const auto& prepared = rule.cast<const PreparedRule&>();
    require(prepared.channels() == 1 || prepared.channels() == w.shape[0], "program: channels do not match");
    const TwoStage& limits = prepared.rule.stages[0];
    ProgramStep s = step(ProgramStep::Kind::linear, w.shape[0]);
    s.problem.w_type = w.type;
    s.problem.w = w.codes;
    s.problem.cache = w.cache;
    s.problem.bias = optional_s32(bias, w.shape[0]);
    s.plan = &prepared.plan;
    s.x_unsigned = x_unsigned;
    s.x_high = x_high;
    const bool out_signed = limits.store == Store::saturate && limits.lo < 0;
    require(out_signed ? limits.lo >= -128 && limits.hi <= 127 : limits.hi <= 255 || limits.store == Store::wrap_u8,
            "program: outputs are bytes");
    s.type = out_signed ? OutputType::s8 : OutputType::u8;
    keep(weight);
    keep(rule);
    if (bias) keep(*bias);
    push(s, out_signed);
  }

  void add_relu(int gain) {
    require(gain == 1 || (gain == 2 && signed_), "program: relu gain");
    ProgramStep s = step(ProgramStep::Kind::relu, width_);
    s.number = gain;
    push(s, signed_ && gain == 1);
  }

  void add_clip(int limit) {
    require(limit >= 0 && limit <= 255, "program: clip limit");
    ProgramStep s = step(ProgramStep::Kind::clip, width_);
    s.number = limit;
    push(s, signed_);
  }

  void add_lookup(const py::array& table) {
    const bool is_signed = py::isinstance<py::array_t<int8_t>>(table);
    require(table.size() == 256 || (table.size() == 1024 && signed_), "program: table");
    ProgramStep s = step(ProgramStep::Kind::lookup, width_);
    s.number = static_cast<int32_t>(table.size());
    if (is_signed) {
      s.table = reinterpret_cast<const uint8_t*>(data_of<int8_t>(table));
    } else {
      s.table = data_of<uint8_t>(table);
    }
    keep(table);
    push(s, is_signed);
  }

  // x [frames, inputs], out [frames, outputs], bytes. False: a layer refuses something.
  bool run(const py::array& x, py::array& out) const {
    require_dense(x);
    require_dense(out);
    require(x.ndim() == 2 && x.shape(1) == inputs_ && x.itemsize() == 1, "program: x");
    require(out.ndim() == 2 && out.shape(0) == x.shape(0) && out.shape(1) == width_ && out.itemsize() == 1,
            "program: out");
    const auto* from = static_cast<const uint8_t*>(x.data());
    auto* to = static_cast<uint8_t*>(out.mutable_data());
    const int64_t frames = x.shape(0);
    const py::gil_scoped_release release;
    return run_program(active_kernel(), steps_, from, frames, to);
  }

  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return width_; }
  bool is_signed() const { return signed_; }

 private:
  ProgramStep step(ProgramStep::Kind kind, int64_t outputs) const {
    ProgramStep s{};
    s.kind = kind;
    s.inputs = width_;
    s.outputs = outputs;
    s.in_signed = signed_;
    return s;
  }
  void push(const ProgramStep& s, bool is_signed) {
    steps_.push_back(s);
    width_ = s.outputs;
    signed_ = is_signed;
  }
  void keep(py::object o) { kept_.push_back(std::move(o)); }

  int64_t inputs_;
  int64_t width_;
  bool signed_;
  std::vector<ProgramStep> steps_;
  std::vector<py::object> kept_;
};

}  // namespace

void bind_program(py::module_& m) {
  py::class_<Program>(m, "Program")
      .def(py::init<int64_t, bool>(), py::arg("inputs"), py::arg("is_signed"))
      .def("add_linear", &Program::add_linear, py::arg("weight"), py::arg("bias"), py::arg("requantizer"),
           py::arg("x_unsigned"), py::arg("x_high"))
      .def("add_relu", &Program::add_relu, py::arg("gain"))
      .def("add_clip", &Program::add_clip, py::arg("limit"))
      .def("add_lookup", &Program::add_lookup, py::arg("table"))
      .def("run", &Program::run, py::arg("x"), py::arg("out"))
      .def_property_readonly("inputs", &Program::inputs)
      .def_property_readonly("outputs", &Program::outputs)
      .def_property_readonly("is_signed", &Program::is_signed);
}

}  // namespace bittwin
