# SPDX-License-Identifier: Apache-2.0
"""Mistakes in the driver and the shared loops of the fast kernels, and the check that must notice each."""

from __future__ import annotations

from typing import NamedTuple


class KernelMutation(NamedTuple):
    """One mistake, and the loops on which it shows. `old` occurs exactly `times` times."""

    rule: str
    header: str
    old: str
    new: str
    noticed_by: str
    loops: str = "narrow"
    times: int = 1


PLAN = "kernels/requant_plan.h"
REQUANT = "kernels/simd/requantize_loops.h"
WIDE = "kernels/simd/wide_loops.h"
MEMORY = "kernels/simd/memory_loops.h"
STRETCH = "kernels/simd/stretch.h"
CANVAS = "kernels/canvas.cpp"
GEOMETRY = "kernels/geometry.cpp"
PANELS = "kernels/panels.cpp"
FINISH = "kernels/finish_block.cpp"
RUN = "kernels/run_fast.cpp"
QAT = "kernels/qat.cpp"


def _shift(mode: str, old: str, new: str) -> KernelMutation:
    text = f"case Rounding::{mode}: "
    return KernelMutation(f"shift plan of {mode}", PLAN, text + old, text + new,
                          "check_kernel_roundings")  # fmt: skip


KERNEL_MUTATIONS = (
    # the table of roundings
    _shift("half_even", "p.base = h - 1, p.if_odd = 1", "p.base = h"),
    _shift("half_up", "p.base = h", "p.base = h - 1"),
    _shift("half_away", "p.base = h, p.if_negative = ~uint64_t{0}", "p.base = h"),
    _shift("half_down", "p.base = h - 1", "p.base = h"),
    _shift("half_to_zero", "p.base = h - 1, p.if_negative = 1", "p.base = h - 1"),
    _shift("half_to_odd", "p.base = h, p.if_odd = ~uint64_t{0}", "p.base = h, p.if_odd = 1"),
    _shift("toward_zero", "p.if_negative = most", "p.base = 0"),
    _shift("away", "p.base = most, p.if_negative = uint64_t{0} - most", "p.base = most"),
    _shift("floor", "break", "p.if_negative = most; break"),
    _shift("ceil", "p.base = most", "p.base = most - 1"),
    # what a requantiser's plan says
    KernelMutation("the plan forgets the middle limit", PLAN, "if (p.middle == Middle::clip)",
                   "if (false)", "check_kernel_finish"),
    KernelMutation("a multiplier counts as narrow", PLAN, "p.multiplier == 1 && ", "",
                   "check_kernel_finish"),
    KernelMutation("wide codes round by an addition", PLAN,
                   "int64_t{1} << 22", "int64_t{1} << 40", "check_kernel_float_codes"),
    KernelMutation("lsh leaves one bit too much", PLAN,
                   "c.acc_hi = (int64_t{1} << (31 - s.lsh)) - 1;",
                   "c.acc_hi = int64_t{1} << (31 - s.lsh);", "check_kernel_refusal"),
    # the loops every instruction set shares
    KernelMutation("zero point before the limits", REQUANT,
                   "clamped_s32(rounded_s32<Second>(t, second), lo, hi) + zero_point",
                   "clamped_s32(rounded_s32<Second>(t, second) + zero_point, lo, hi)",
                   "check_kernel_roundings"),
    KernelMutation("narrow loops do not wrap", REQUANT, "if (Mid == Middle::wrap16)", "if (false)",
                   "check_kernel_finish"),
    KernelMutation("wide loops forget the digital part", WIDE, "High ? high[i] : 0", "0",
                   "check_kernel_finish"),
    KernelMutation("channels take the first parameters", WIDE, "first[row * channels + i]",
                   "first[row * channels]", "check_kernel_finish"),
    KernelMutation("channels start at zero", REQUANT, "plan.columns.data() + channel0 + i",
                   "plan.columns.data() + i", "check_kernel_finish"),
    KernelMutation("the unsigned store saturates", WIDE, "INT64_MIN, 255, 255}", "0, 255, 255}",
                   "check_kernel_unsigned_store"),
    KernelMutation("float codes are cut", REQUANT, "const float whole = limited + magic;",
                   "const float whole = limited - 0.5F + magic;", "check_kernel_finish"),
    KernelMutation("refusals are missed", WIDE, "acc[i] > highest", "false",
                   "check_kernel_refusal"),
    KernelMutation("the high part counts 128", REQUANT, "int64_t{256} * high[i]",
                   "int64_t{128} * high[i]", "check_kernel_split"),
    KernelMutation("the low part is not limited", REQUANT,
                   "split.limit_low ? split.low_hi : INT64_MAX", "INT64_MAX", "check_kernel_split"),
    KernelMutation("float outputs are multiplied", MEMORY, "static_cast<float>(from[j]) / ",
                   "static_cast<float>(from[j]) + ", "check_kernel_finish"),
    KernelMutation("input shifts are forgotten", MEMORY, "product + q.shift", "product",
                   "check_kernel_quantize", times=2),
    KernelMutation("input codes are cut", MEMORY, "const float whole = limited + magic;",
                   "const float whole = limited - 0.5F + magic;", "check_kernel_quantize"),
    KernelMutation("NaN passes", MEMORY, "v != v ? 1U : 0U", "0U", "check_kernel_quantize"),
    KernelMutation("the highest input is outside", MEMORY, "(scaled <= hi)", "(scaled < hi)",
                   "check_kernel_quantize"),
    KernelMutation("depthwise products wrap at 16 bits", MEMORY,
                   "static_cast<uint32_t>(int32_t{product})",
                   "static_cast<uint32_t>(int32_t{static_cast<int8_t>(product)})",
                   "check_kernel_depthwise"),
    # sums in several passes
    KernelMutation("every pass starts from the bias", STRETCH, "i == 0 && u == 0", "true",
                   "check_kernel_linear"),
    KernelMutation("passes read the first codes", STRETCH, "Stretch{b.segment + i, 1, u, units}",
                   "Stretch{b.segment + i, 1, 0, units}", "check_kernel_linear"),
    KernelMutation("passes read the first weights", STRETCH, "(i * b.units + u) * unit_bytes",
                   "i * b.units * unit_bytes", "check_kernel_linear"),
    KernelMutation("the last segments are forgotten", STRETCH,
                   "i + together < b.segments ? together : b.segments - i", "1",
                   "check_kernel_conv2d", "wide"),
    # inputs
    KernelMutation("padding is zero", CANVAS, "pad_of(p.pad_code, part)", "0",
                   "check_kernel_conv2d"),
    KernelMutation("padding is not flipped", CANVAS,
                   "(static_cast<uint32_t>(pad_of(p.pad_code, part)) ^ f.flip)",
                   "(static_cast<uint32_t>(pad_of(p.pad_code, part)))", "check_kernel_conv2d"),
    KernelMutation("groups read the first channels", CANVAS, "at.group * at.channels", "0",
                   "check_kernel_conv2d"),
    KernelMutation("images lose their top margin", CANVAS, "(y + canvas.top)", "(y)",
                   "check_kernel_conv2d"),
    KernelMutation("the second plane repeats the first", CANVAS, "8 * i, to", "0, to",
                   "check_kernel_linear", "planes"),
    KernelMutation("signed low parts are bytes", CANVAS,
                   "part == Part::low ? InputType::s16 : InputType::s8", "InputType::s8",
                   "check_kernel_split"),
    KernelMutation("signed codes are read in place", CANVAS,
                   "part == Part::whole && f.flip == 0 &&", "part == Part::whole &&",
                   "check_kernel_linear"),
    KernelMutation("split codes are read in place", CANVAS, "part == Part::whole && f.flip == 0 &&",
                   "f.flip == 0 &&", "check_kernel_split", "wide"),
    # geometry
    KernelMutation("padding moves nothing", GEOMETRY, "k * dilation - pad, static_cast",
                   "k * dilation, static_cast", "check_kernel_conv2d"),
    KernelMutation("phases forget the padding", GEOMETRY, "moved = phase + pad - k * dilation",
                   "moved = phase - k * dilation", "check_kernel_transposed"),
    KernelMutation("phases meet every weight", GEOMETRY, "if (moved % stride == 0)", "if (true)",
                   "check_kernel_transposed"),
    KernelMutation("phases read one pixel on", GEOMETRY, "{moved / stride, static_cast<int>(k)}",
                   "{moved / stride + 1, static_cast<int>(k)}", "check_kernel_transposed"),
    KernelMutation("a phase is one pixel short", GEOMETRY, "(out - phase + stride - 1) / stride",
                   "(out - phase) / stride", "check_kernel_transposed"),
    KernelMutation("apart taps count as neighbours", GEOMETRY,
                   "xs.taps[1].at - xs.taps[0].at == 1", "true", "check_kernel_conv2d"),
    KernelMutation("the kernel's rows are mixed up", GEOMETRY, "y.k * kernel_w + x.k",
                   "x.k * kernel_w + y.k", "check_kernel_conv2d"),
    # weights
    KernelMutation("transposed weights are read as OIHW", PANELS,
                   "{area, 1, s.out_channels * area}", "{s.in_channels * area, 1, area}",
                   "check_kernel_transposed"),
    KernelMutation("the second group's weights are the first's", PANELS,
                   "g * columns * order.column", "0 * columns * order.column", "check_kernel_conv2d"),
    KernelMutation("padding units keep old weights", PANELS,
                   "std::fill(to, out + segment_codes, ", "std::fill(to, to, ",
                   "check_kernel_linear", "wide"),
    # start values, blocks, items
    KernelMutation("the flip stays in the sums", RUN,
                   "b - static_cast<uint32_t>(f.unflip) * sum", "b", "check_kernel_linear"),
    KernelMutation("later columns take the first bias", RUN, "bias[channel + j]", "bias[j]",
                   "check_kernel_linear"),
    KernelMutation("later columns take the first sums", RUN, "panel.sum[static_cast<size_t>(column + j)]",
                   "panel.sum[static_cast<size_t>(j)]", "check_kernel_linear"),
    KernelMutation("later blocks read the first rows", RUN, "int64_t y = first / walk;",
                   "int64_t y = 0 * first;", "check_kernel_blocks"),
    KernelMutation("depthwise chunks take the first bias", RUN, "p.bias[c + j]", "p.bias[j]",
                   "check_kernel_depthwise"),
    KernelMutation("depthwise chunks take the first weights", RUN, "weights.data() + c * tap_count",
                   "weights.data()", "check_kernel_depthwise"),
    KernelMutation("both rounds take the low canvas", RUN,
                   "point_rows(sweep, walk, canvas, inputs.high,",
                   "point_rows(sweep, walk, canvas, inputs.low,", "check_kernel_split"),
    # outputs
    KernelMutation("channel-first outputs are stored channel-last", FINISH,
                   "(b.image * p.channels + channel) * p.pixels + pixel",
                   "(b.image * p.pixels + pixel) * p.channels + channel", "check_kernel_conv2d"),
    KernelMutation("every image is the first", FINISH, "(b.image * p.pixels + pixel)", "(pixel)",
                   "check_kernel_conv2d"),
    KernelMutation("pixels of a phase lie side by side", FINISH, "static_cast<T*>(to)[i * step]",
                   "static_cast<T*>(to)[i]", "check_kernel_transposed"),
    KernelMutation("phases are stored without gaps", FINISH, "run.step * p.channels", "p.channels",
                   "check_kernel_transposed"),
    KernelMutation("rows take the first row's digital part", FINISH,
                   "high[row * b.width + column] = f.high[at]", "high[column] = f.high[at]",
                   "check_kernel_finish"),
    KernelMutation("columns take the first digital bias", FINISH,
                   "f.bias_digital + b.channel, f.bias_digital + b.channel + b.columns",
                   "f.bias_digital, f.bias_digital + b.columns", "check_kernel_split"),
    KernelMutation("the last refusal is named", FINISH, "at < outcome.bad.index",
                   "at > outcome.bad.index", "check_kernel_refusal"),
    KernelMutation("refusals name the code", FINISH,
                   "original.acc = reinterpret_cast<int32_t*>(kept.data());", "",
                   "check_kernel_refusal"),
    # flags
    KernelMutation("flags are packed from the other end", QAT, "<< (8 * j)", "<< (56 - 8 * j)",
                   "check_kernel_quantize"),
    KernelMutation("all flags are set", QAT, "if (outcome.all_inside) {", "if (true) {",
                   "check_kernel_quantize"),
)  # fmt: skip
