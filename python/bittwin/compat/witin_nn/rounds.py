# SPDX-License-Identifier: Apache-2.0
"""The forward of a quantised layer: one round, two rounds for wide inputs, or the vector unit's.

Accumulators are exact INT32, where the tool sums in float32 (exact below 2^24 only).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import bittwin
from bittwin.compat.witin_nn import float_order
from bittwin.compat.witin_nn.enums import HandleNegInType
from bittwin.compat.witin_nn.job import Job, Part, Result
from bittwin.compat.witin_nn.quantizers import (
    Codes,
    Input,
    Mask,
    Quantized,
    Reals,
    quantize_bias,
    quantize_input,
    quantize_weight,
    split_bias,
)
from bittwin.compat.witin_nn.settings import Settings, code_limits, is_usable
from bittwin.split import add_parts, split_codes, split_rule


def run(job: Job, x: Reals, weight: Reals, bias: Reals | None) -> Result:
    """The quantised forward of one layer on numpy views of its tensors."""
    with np.errstate(all="ignore"):  # infinities and NaN are results here, not accidents
        # A ZeroDivisionError for scale_y = 0, as in the tool.
        gain = job.product / job.scales.y
        xq = quantize_input(x, job.scales.x, job.settings, job.rules)
        wq = quantize_weight(weight, job.scales.weight, job.settings)
        if job.rules.vpu:
            return _vector_unit(job, xq, wq, bias, x.dtype)
        if job.rules.splits and job.settings.x_bits > 8:
            return _two_rounds(job, xq, wq, bias, gain, x.dtype)
        if xq.mirrored is not None and job.rules.halves:
            return _two_halves(job, xq, wq, weight, bias, x.dtype)
        return _one_round(job, xq, wq, bias, x.dtype)


def _one_round(
    job: Job, xq: Input, wq: Quantized, bias: Reals | None, dtype: np.dtype[Any]
) -> Result:
    codes, passes = _joined(xq, job.settings)
    b = quantize_bias(bias, job.unit, _compensation(job, xq, wq, dtype), job.settings)
    acc = job.operator.accumulate(
        codes, wq.codes, None if b is None else b.codes, job.settings.x_bits
    )
    values = float_order.real_values(acc, job.product, dtype)
    values, unclipped = float_order.clipped(values, _fp_clip(job))
    scaled = float_order.scaled(values, job.scales.y)
    if unclipped is None:
        y_codes = float_order.codes_of_accumulators(
            acc, job.product, job.scales.y, job.settings.y_bits, dtype
        )
    else:
        y_codes = float_order.codes_of(scaled, job.settings.y_bits)
    return _finish(
        job,
        y_codes,
        values,
        scaled,
        unclipped,
        [Part(codes, wq, passes)],
        None if b is None else b.passes,
        offset=xq.offset,
    )


def _two_halves(
    job: Job,
    xq: Input,
    wq: Quantized,
    weight: Reals,
    bias: Reals | None,
    dtype: np.dtype[Any],
) -> Result:
    """PN convolutions: each sign of the input meets its own quantised weights."""
    assert xq.mirrored is not None
    mirrored = quantize_weight(weight, job.scales.weight, job.settings, mirror=True)
    b = quantize_bias(bias, job.unit, None, job.settings)
    accumulate = job.operator.accumulate
    positive = accumulate(
        xq.direct.codes, wq.codes, None if b is None else b.codes, job.settings.x_bits
    )
    negative = accumulate(xq.mirrored.codes, mirrored.codes, None, job.settings.x_bits)
    values = float_order.halves_in_real(positive, negative, job.product, dtype)
    values, unclipped = float_order.clipped(values, _fp_clip(job))
    scaled = float_order.scaled(values, job.scales.y)
    y_codes = float_order.codes_of(scaled, job.settings.y_bits)
    parts = [
        Part(xq.direct.codes, wq, xq.direct.passes),
        Part(xq.mirrored.codes, mirrored, xq.mirrored.passes, sign=-1),
    ]
    return _finish(job, y_codes, values, scaled, unclipped, parts, None if b is None else b.passes)


def _two_rounds(
    job: Job,
    xq: Input,
    wq: Quantized,
    bias: Reals | None,
    gain: float,
    dtype: np.dtype[Any],
) -> Result:
    """Linear with more than 8 input bits; the low part saturates to the output's width."""
    settings = job.settings
    codes, passes = _joined(xq, job.settings)
    x_lo, x_hi = _sign_magnitude(codes, settings.x_bits)
    compensation = _compensation(job, xq, wq, dtype)
    if compensation is None:
        compensation = np.zeros(wq.codes.shape[job.operator.weight_axis], dtype)
    b = split_bias(bias, job.unit, compensation, settings)
    low = job.operator.accumulate(x_lo, wq.codes, b.array.codes, 8)
    high = job.operator.accumulate(x_hi, wq.codes, None, settings.x_bits - 8)
    values = float_order.real_values(low, job.product, dtype)
    scaled = float_order.scaled(values, job.scales.y)
    lowest, highest = code_limits(settings.y_bits)
    low_codes = float_order.codes_of_accumulators(
        low, job.product, job.scales.y, settings.y_bits, dtype
    )
    # The sum before its saturation is what the mask is taken on.
    total = low_codes + float_order.high_part(high, b.digital, gain, dtype)
    if _in_split_contract(job, gain, b.digital, dtype):
        requant = bittwin.half_even_f32(job.product, job.scales.y, bits=settings.y_bits)
        rule = split_rule(requant, None, "half_even")
        y_codes = add_parts(low, high, b.digital.astype(np.int32), requant, rule, axis=-1)
    else:
        y_codes = np.clip(total, lowest, highest)
    whole = np.rint(gain)
    parts = [
        Part(x_lo, wq, None, low=True),
        Part(x_hi, wq, passes, factor=float(np.float64(gain) / whole), x_unit=256),
    ]
    result = _finish(job, y_codes, values, total, None, parts, b.array.passes, offset=xq.offset)
    result.low_passes = (scaled >= lowest) & (scaled <= highest)
    return result


def _vector_unit(
    job: Job, xq: Input, wq: Quantized, bias: Reals | None, dtype: np.dtype[Any]
) -> Result:
    """hardware=VPU: signed inputs, a bias off the grid; handle_neg_in and G_algo are ignored."""
    acc = job.operator.accumulate(xq.direct.codes, wq.codes, None, job.settings.x_bits)
    b = None
    if bias is not None:
        b = job.operator.per_output(bias * dtype.type(job.unit))
    scaled = float_order.vector_unit(acc, b, job.unit / job.scales.y, dtype)
    values = scaled / dtype.type(job.scales.y)
    y_codes = float_order.codes_of(scaled, job.settings.y_bits)
    part = Part(xq.direct.codes, wq, xq.direct.passes)
    return _finish(job, y_codes, values, scaled, None, [part], None)


def _finish(
    job: Job,
    codes: Codes,
    values: Reals,
    scaled: Reals,
    unclipped: Mask | None,
    parts: list[Part],
    bias_passes: Mask | None,
    offset: float = 0.0,
) -> Result:
    """From codes to real outputs: last limits, statistics, masks. `scaled`: codes before saturation."""
    settings, rules, dtype = job.settings, job.rules, values.dtype
    low, high = code_limits(settings.y_bits)
    passes = (scaled >= low) & (scaled <= high)
    if unclipped is not None:
        passes &= unclipped
    if rules.final_bits:
        low, high = code_limits(rules.final_bits)
        passes &= (codes >= low) & (codes <= high)
        codes = np.clip(codes, low, high)
    y = codes.astype(dtype) / dtype.type(job.scales.y)
    largest = float(np.abs(values).max()) if values.size else 0.0
    y_scale = job.observe(largest)
    if rules.trailing_clip:
        bits = 8 if settings.negative is HandleNegInType.PN else settings.y_bits
        y, inside = float_order.trailing_clip(y, y_scale, bits)
        passes &= inside
    return Result(y, passes, parts, bias_passes, offset=offset)


def _joined(xq: Input, settings: Settings) -> tuple[Codes, Mask]:
    """One signed input from the two halves of PN; unchanged otherwise."""
    if xq.mirrored is None:
        return xq.direct
    codes = xq.direct.codes.astype(np.int32) - xq.mirrored.codes
    # Only codes of 16 bits need more than int16, and those run in two rounds.
    narrow = codes.astype(np.int16) if settings.x_bits < 16 else codes
    return narrow, xq.direct.passes | xq.mirrored.passes


def _sign_magnitude(codes: Codes, bits: int) -> tuple[Codes, Codes]:
    """Low 8 bits and the bits above, with the sign: bittwin's split, and the same for 13..16 bits."""
    if bits <= 12:
        return split_codes(codes, bits)
    sign, magnitude = np.sign(codes.astype(np.int32)), np.abs(codes.astype(np.int32))
    return (sign * (magnitude & 255)).astype(np.int16), (sign * (magnitude >> 8)).astype(np.int16)


def _compensation(job: Job, xq: Input, wq: Quantized, dtype: np.dtype[Any]) -> Reals | None:
    """[out]: what Shift adds to the accumulators, to be taken out through the array bias."""
    if job.settings.negative is not HandleNegInType.Shift or job.rules.vpu:
        return None
    axes = tuple(i for i in range(wq.codes.ndim) if i != job.operator.weight_axis)
    sums: Reals = wq.codes.sum(axes, dtype=np.int64).astype(dtype) * dtype.type(xq.offset)
    return sums


def _in_split_contract(job: Job, gain: float, digital: Reals, dtype: np.dtype[Any]) -> bool:
    return bool(
        dtype == np.float32
        and 2 <= job.settings.y_bits <= 16
        and is_usable(job.product)
        and is_usable(job.scales.y)
        and 1 <= np.rint(gain) < 2.0**127
        and (np.abs(digital) < 2.0**31).all()
    )


def _fp_clip(job: Job) -> float:
    """output_fp_clip acts on convolutions only, and not under to_linear."""
    return 0.0 if job.rules.splits else job.settings.output_fp_clip
