# SPDX-License-Identifier: Apache-2.0
"""The mistakes: one textual change of one header each, and the check that must notice it."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """One mistake. `old` must occur exactly `times` times in the header; all are replaced."""

    rule: str
    header: str
    old: str
    new: str
    noticed_by: str
    times: int = 1


ROUNDING = "include/bittwin/rounding.h"
SATURATE = "include/bittwin/saturate.h"
REQUANT = "include/bittwin/requantize.h"
INPUT = "include/bittwin/quantize.h"
F32 = "include/bittwin/half_even_f32.h"
BIAS = "include/bittwin/bias.h"
SPLIT = "include/bittwin/split.h"
DAC = "include/bittwin/array_input.h"
ACT = "include/bittwin/activation.h"
LINEAR = "kernels/linear_ref.h"
CONV = "kernels/conv_ref.h"
BOUND = "kernels/bound.h"
RULE = "kernels/requantizer.h"

_READOUT_STAGE_1 = "p.rounding1 = Rounding::toward_zero"
_READOUT_STAGE_2 = "p.rounding2 = Rounding::half_up"


def _case(mode: str, old: str, new: str) -> Mutation:
    text = f"case Rounding::{mode}: up = "
    return Mutation(f"{mode}: tie or sign", ROUNDING, text + old, text + new, "check_round_shift")


MUTATIONS = (
    # the readout
    Mutation("stage 1 floors", REQUANT, _READOUT_STAGE_1, "p.rounding1 = Rounding::floor",
             "check_readout"),
    Mutation("stage 1 rounds half up", REQUANT, _READOUT_STAGE_1,
             "p.rounding1 = Rounding::half_up", "check_readout"),
    Mutation("stage 2 rounds half even", REQUANT, _READOUT_STAGE_2,
             "p.rounding2 = Rounding::half_even", "check_readout"),
    Mutation("stage 2 rounds half away", REQUANT, _READOUT_STAGE_2,
             "p.rounding2 = Rounding::half_away", "check_readout"),
    Mutation("one rounding only", REQUANT, "p.shift1 = log2_gain - 2;", "p.shift1 = log2_gain;",
             "check_readout"),
    Mutation("wrap16 saturates", REQUANT, "wrap16 ? Middle::wrap16", "wrap16 ? Middle::exact",
             "check_readout"),
    Mutation("the readout always wraps", REQUANT, ": Middle::exact;", ": Middle::wrap16;",
             "check_readout"),
    # the order of the steps
    Mutation("clamp before adding high", REQUANT,
             "store_code(unsaturated_code(acc, p) + high + p.zero_point, p.lo, p.hi, p.store)",
             "store_code(saturate(unsaturated_code(acc, p), p.lo, p.hi) + high + p.zero_point, "
             "p.lo, p.hi, p.store)", "check_high_joins_before_the_clamp"),
    Mutation("zero point after the clamp", REQUANT, "+ high + p.zero_point, p.lo, p.hi, p.store)",
             "+ high, p.lo, p.hi, p.store) + p.zero_point", "check_two_stage_order"),
    Mutation("high is multiplied by the gain", REQUANT,
             "store_code(unsaturated_code(acc, p) + high +",
             "store_code(unsaturated_code(acc + static_cast<int32_t>(high) * 256, p) +",
             "check_high_joins_before_the_clamp"),
    Mutation("no middle clip", REQUANT, "if (p.middle == Middle::clip) t =",
             "if (false) t =", "check_two_stage_order"),
    Mutation("middle clip after stage 2", REQUANT,
             "if (p.middle == Middle::clip) t = saturate(t, p.middle_lo, p.middle_hi);",
             "if (p.middle == Middle::clip) return saturate(rounding_shift_right(t, p.shift2, "
             "p.rounding2), p.middle_lo, p.middle_hi);", "check_two_stage_order"),
    Mutation("left shift after the multiplier's shift", REQUANT,
             "static_cast<int64_t>(acc) * (int64_t{1} << p.lsh) * p.multiplier",
             "static_cast<int64_t>(acc) * p.multiplier", "check_two_stage_order"),
    Mutation("the product wraps to 32 bits", REQUANT,
             "static_cast<int64_t>(acc) * (int64_t{1} << p.lsh) * p.multiplier",
             "wrapping_s32(static_cast<int64_t>(acc) * (int64_t{1} << p.lsh) * p.multiplier)",
             "check_two_stage_order"),
    Mutation("both stages use the first rounding", REQUANT,
             "return rounding_shift_right(t, p.shift2, p.rounding2)",
             "return rounding_shift_right(t, p.shift2, p.rounding1)", "check_two_stage_roundings"),
    Mutation("both stages use the second rounding", REQUANT,
             "rounding_shift_right(v, p.shift1, p.rounding1)",
             "rounding_shift_right(v, p.shift1, p.rounding2)", "check_two_stage_roundings"),
    Mutation("the unsigned store saturates", REQUANT, "(code < 255 ? code : 255) & 255",
             "saturate(code, 0, 255)", "check_unsigned_store"),
    Mutation("the unsigned store wraps large codes", REQUANT, "(code < 255 ? code : 255) & 255",
             "code & 255", "check_unsigned_store"),
    Mutation("lowest code is lost", SATURATE, "return v < lo ? lo", "return v <= lo ? lo + 1",
             "check_readout"),
    Mutation("every channel uses the first parameters", RULE, "per_tensor ? 0 :",
             "true ? 0 :", "check_two_stage_per_channel"),
    # half even and its float32 order
    Mutation("half_even rounds half up", REQUANT, "p.rounding1 = Rounding::half_even",
             "p.rounding1 = Rounding::half_up", "check_half_even"),
    Mutation("half_even_f32 multiplies by one factor", F32,
             "static_cast<float>(acc) / scale_product;",
             "static_cast<float>(acc) * (1.0F / scale_product);", "check_half_even_f32"),
    Mutation("half_even_f32 works in double", F32,
             "return value * codes_per_unit;",
             "return static_cast<float>(static_cast<double>(acc) / scale_product * "
             "codes_per_unit);", "check_half_even_f32"),
    Mutation("half_even_f32 rounds half away", F32, "round_real(limited, Rounding::half_even)",
             "round_real(limited, Rounding::half_away)", "check_half_even_f32"),
    Mutation("half_even_f32 forgets high", F32, "codes_per_unit) + high, lo, hi)",
             "codes_per_unit), lo, hi) + high", "check_high_joins_before_the_clamp"),
    # the roundings themselves
    _case("half_even", "r > h || (r == h && odd)", "r > h || (r == h && !odd)"),
    _case("half_up", "r >= h", "r > h"),
    _case("half_away", "v >= 0 ? r >= h : r > h", "r >= h"),
    _case("half_down", "r > h", "r >= h"),
    _case("half_to_zero", "v >= 0 ? r > h : r >= h", "r > h"),
    _case("half_to_odd", "r > h || (r == h && !odd)", "r > h"),
    _case("toward_zero", "v < 0 && r != 0", "r != 0"),
    _case("away", "v > 0 && r != 0", "v < 0 && r != 0"),
    _case("floor", "false", "v < 0 && r != 0"),
    _case("ceil", "r != 0", "v > 0 && r != 0"),
    Mutation("halves of reals go away", ROUNDING, "grow = f > half || (f == half && odd)",
             "grow = f >= half", "check_round_real"),
    Mutation("negative reals are floored", ROUNDING, "case Rounding::toward_zero: grow = false",
             "case Rounding::toward_zero: grow = negative && f > 0", "check_round_real"),
    Mutation("16 bits saturate", SATURATE,
             "return low < 0x8000 ? low : low - 0x10000;",
             "return v > 32767 ? 32767 : v < -32768 ? -32768 : static_cast<int32_t>(v);",
             "check_readout"),
    Mutation("32 bits saturate", SATURATE,
             "return static_cast<int32_t>(low < (int64_t{1} << 31) ? low : low - "
             "(int64_t{1} << 32));",
             "return static_cast<int32_t>(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN "
             ": v + 0 * low);", "check_wraps"),
    # bias rows
    Mutation("bias step 256", BIAS, "kBiasStep = 128", "kBiasStep = 256", "check_bias"),
    Mutation("bias count rounds half up", BIAS, "rounding_shift_right(b, 7, Rounding::half_even)",
             "rounding_shift_right(b, 7, Rounding::half_up)", "check_bias"),
    Mutation("bias limit is symmetric", BIAS, "saturate(count, -128 * int64_t{rows}",
             "saturate(count, -127 * int64_t{rows}", "check_bias"),
    Mutation("bias limit ignores the rows", BIAS, "127 * int64_t{rows});", "127);", "check_bias"),
    Mutation("real bias rounds half away", BIAS, "round_real(limited, Rounding::half_even)",
             "round_real(limited, Rounding::half_away)", "check_bias"),
    Mutation("real bias limit 128", BIAS, "static_cast<Real>(127 * rows)",
             "static_cast<Real>(128 * rows)", "check_bias"),
    # the split of wide inputs
    Mutation("the low part is floored", SPLIT, "x >= 0 ? (x & 255) : -((-x) & 255)", "x & 255",
             "check_split_parts"),
    Mutation("the high part is floored", SPLIT, "x >= 0 ? (x >> 8) : -((-x) >> 8)", "x >> 8",
             "check_split_parts"),
    Mutation("split sign: both parts floored, high seen in codes", SPLIT,
             "x >= 0 ? (x >> 8) : -((-x) >> 8)", "(x - (x & 255)) / 256", "check_split"),
    Mutation("high is rounded before it counts 256", SPLIT,
             "rounding_shift_right(256 * acc_high + bias_digital, log2_gain, rounding)",
             "256 * rounding_shift_right(acc_high + bias_digital / 256, log2_gain, rounding)",
             "check_split"),
    Mutation("the digital bias joins after rounding", SPLIT,
             "rounding_shift_right(256 * acc_high + bias_digital, log2_gain, rounding)",
             "rounding_shift_right(256 * acc_high, log2_gain, rounding) + "
             "rounding_shift_right(bias_digital, log2_gain, rounding)", "check_split"),
    Mutation("the digital part is rounded half up", RULE,
             "split.log2_gain, split.high_rounding)", "split.log2_gain, Rounding::half_up)",
             "check_split"),
    Mutation("the low part is always limited", RULE, "return split.limit_low ?",
             "return true ?", "check_split"),
    Mutation("the low part is never limited", RULE, "return split.limit_low ?",
             "return false ?", "check_split"),
    Mutation("joint rounding of both parts", RULE,
             "low_code(acc_low[i], rule, split) + high_code(acc_high[i], digital, rule, split)",
             "low_code(static_cast<int32_t>(acc_low[i] + 256 * int64_t{acc_high[i]} + digital), "
             "rule, split)", "check_split"),
    Mutation("the sum of the parts wraps", RULE,
             "static_cast<Y>(saturate(sum, limits.lo, limits.hi))",
             "static_cast<Y>(static_cast<int8_t>(sum))", "check_split"),
    Mutation("every column takes the first digital bias", RULE, "bias_digital[c]",
             "bias_digital[0]", "check_split"),
    Mutation("float32 digital part is rounded half away", SPLIT,
             "round_real(total / whole_gain, Rounding::half_even)",
             "round_real(total / whole_gain, Rounding::half_away)", "check_split"),
    Mutation("float32 digital part works in double", SPLIT,
             "const float total = static_cast<float>(256 * acc_high + bias_digital);",
             "const double total = static_cast<double>(256 * acc_high + bias_digital);",
             "check_split"),
    # input bytes and activations
    Mutation("unsigned inversion is 255 - x", DAC, "x = (256 - x) & 255", "x = 255 - x",
             "check_dac"),
    Mutation("signed inversion of -128 gives 128", DAC, "(s == -128 ? 0 : -s)", "-s", "check_dac"),
    Mutation("doubling is limited to 255", DAC, "doubled ? 2 * x : x",
             "doubled ? (2 * x < 255 ? 2 * x : 255) : x", "check_dac"),
    Mutation("doubling is ignored", DAC, "doubled ? 2 * x : x", "doubled ? x : x", "check_dac"),
    Mutation("signed bytes keep their sign", DAC, "driven > 0 ? driven : 0", "driven",
             "check_dac"),
    Mutation("relu before its gain saturates", ACT, "(y > 0 ? y : 0) * gain",
             "((y > 0 ? y : 0) * gain > 127 ? 127 : (y > 0 ? y : 0) * gain)", "check_activations"),
    Mutation("clip keeps negatives", ACT, "saturate(y, 0, limit)", "saturate(y, -128, limit)",
             "check_activations"),
    Mutation("large tables are read at y", ACT, "static_cast<uint32_t>(2 * y) & 1023U",
             "static_cast<uint32_t>(y) & 1023U", "check_activations"),
    Mutation("small tables are read at y + 128", ACT, "static_cast<uint32_t>(y) & 255U",
             "static_cast<uint32_t>(y + 128) & 255U", "check_activations"),
    Mutation("post-adder shift is one short", ACT, "(byte) << (num + 1)", "(byte) << num",
             "check_post_adder"),
    # real inputs of training layers, and which numbers let their gradient pass
    Mutation("input codes round half up", INPUT, "round_real(scaled, Rounding::half_even)",
             "round_real(scaled, Rounding::half_up)", "check_quantize_value"),
    Mutation("input codes work in double", INPUT, "const Real product = v * q.codes_per_unit;",
             "const double product = static_cast<double>(v) * static_cast<double>(q.codes_per_unit);",
             "check_quantize_value"),
    Mutation("the shift joins after rounding", INPUT, "round_real(scaled, Rounding::half_even)",
             "round_real(product, Rounding::half_even) + static_cast<int64_t>(q.shift)",
             "check_quantize_value"),
    Mutation("the highest input is outside", INPUT, "scaled > hi", "scaled >= hi",
             "check_quantize_value"),
    Mutation("the lowest input is outside", INPUT, "scaled < lo", "scaled <= lo",
             "check_quantize_value"),
    Mutation("inside asks the input code", INPUT, "return {q.hi, false}",
             "return {q.hi, scaled <= hi + static_cast<Real>(0.5)}", "check_quantize_value"),
    Mutation("the highest output is outside", REQUANT, "above <= p.hi", "above < p.hi",
             "check_inside_limits"),
    Mutation("the lowest output is outside", REQUANT, "below >= p.lo", "below > p.lo",
             "check_inside_limits"),
    Mutation("inside asks the output code", REQUANT, "return below >= p.lo && above <= p.hi;",
             "const int64_t code = unsaturated_code(acc, p); return code >= p.lo && code <= p.hi;",
             "check_inside_limits"),
    Mutation("inside forgets the second shift", REQUANT,
             "floor_shift(floor_shift(v, p.shift1), p.shift2)", "floor_shift(v, p.shift1)",
             "check_inside_limits"),
    Mutation("the upper end is compared with a floor", REQUANT,
             "rounding_shift_right(rounding_shift_right(v, p.shift1, Rounding::ceil), p.shift2, "
             "Rounding::ceil)", "below", "check_inside_limits"),
    # sums of products
    Mutation("16-bit accumulator", LINEAR, "acc[i * s.n + j] = static_cast<int32_t>(sum);",
             "acc[i * s.n + j] = static_cast<int16_t>(sum);", "check_linear"),
    Mutation("the bias is forgotten", LINEAR, "bias != nullptr ? static_cast<uint32_t>(bias[j])",
             "false ? static_cast<uint32_t>(bias[j])", "check_linear"),
    Mutation("the last product is forgotten", LINEAR, "p < s.k", "p + 1 < s.k", "check_linear"),
    Mutation("the accumulator saturates", LINEAR,
             "sum += static_cast<uint32_t>(int32_t{x[i * s.k + p]} * int32_t{w[j * s.k + p]});",
             "{ const int64_t wide = static_cast<int64_t>(static_cast<int32_t>(sum)) + "
             "int64_t{x[i * s.k + p]} * w[j * s.k + p]; sum = static_cast<uint32_t>("
             "wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : wide); }",
             "check_linear_wide"),
    Mutation("padding is symmetric", CONV, "- s.pad_top", "- s.pad_left", "check_conv2d", 2),
    Mutation("dilation is ignored", CONV, "kx * s.dilation_w", "kx", "check_conv2d", 2),
    Mutation("stride is ignored", CONV, "ox * s.stride_w", "ox", "check_conv2d"),
    Mutation("groups read the first channels", CONV, "o / group_out * group_in + c", "c",
             "check_conv2d"),
    Mutation("transposed stride is ignored", CONV, "ix * s.stride_w", "ix",
             "check_conv_transpose2d"),
    Mutation("transposed weights are read as OIHW", CONV, "(c * s.out_channels + o)",
             "(o * s.in_channels + c)", "check_conv_transpose2d"),
    Mutation("transposed dilation is ignored", CONV, "ky * s.dilation_h", "ky",
             "check_conv_transpose2d", 2),
    Mutation("the bound forgets negative inputs", BOUND,
             "positive * x_hi + negative * x_lo", "positive * x_hi", "check_bound"),
    Mutation("the bound forgets the bias", BOUND, "bias != nullptr ? bias[j] : 0", "0",
             "check_bound"),
)  # fmt: skip
