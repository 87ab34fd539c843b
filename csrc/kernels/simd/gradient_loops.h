// SPDX-License-Identifier: Apache-2.0
// Loops of gradient.h for one BITTWIN_TARGET; included once per instruction set, each time in a namespace of its
// own, so without an include guard. A compiler turns them into vectors.

template <typename Code, typename Out>
BITTWIN_TARGET static void values_loop(const CodeValues& v, int64_t first, int64_t last) {
  const Code* codes = static_cast<const Code*>(v.codes);
  Out* out = static_cast<Out*>(v.out);
  const float shift = v.shift;
  const float codes_per_unit = v.codes_per_unit;
  for (int64_t i = first; i < last; ++i) {
    const float value = (static_cast<float>(codes[i]) - shift) / codes_per_unit;
    store_value(value, out[i]);
  }
}

template <typename Out>
BITTWIN_TARGET static void keep_loop(const KeepWhere& k, int64_t first, int64_t last) {
  Out* to = static_cast<Out*>(k.to);
  int64_t i = first;
  for (; i + 8 <= last; i += 8) {
    const uint32_t bits = k.bits != nullptr ? k.bits[i / 8] : 255U;
    for (int j = 0; j < 8; ++j) {
      const float kept = bits_as_float(float_as_bits(k.from[i + j]) & (0U - ((bits >> j) & 1U)));
      store_value(kept, to[i + j]);
    }
  }
  for (; i < last; ++i) {
    const bool keep = k.bits == nullptr || ((k.bits[i / 8] >> (i % 8)) & 1) != 0;
    store_value(keep ? k.from[i] : 0.0F, to[i]);
  }
}

// out[i] += factor * in[i]
BITTWIN_TARGET static void add_scaled(const float* in, float factor, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] += factor * in[i];
}

BITTWIN_TARGET static void add(const float* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] += in[i];
}

template <typename Out>
static void values_of(const CodeValues& v, int64_t first, int64_t last) {
  switch (v.type) {
    case CodeType::u8: return values_loop<uint8_t, Out>(v, first, last);
    case CodeType::s8: return values_loop<int8_t, Out>(v, first, last);
    case CodeType::s16: return values_loop<int16_t, Out>(v, first, last);
  }
}

static void values(const CodeValues& v, int64_t first, int64_t last) {
  v.bfloat16 ? values_of<uint16_t>(v, first, last) : values_of<float>(v, first, last);
}

static void keep(const KeepWhere& k, int64_t first, int64_t last) {
  k.bfloat16 ? keep_loop<uint16_t>(k, first, last) : keep_loop<float>(k, first, last);
}
