// See codec-exports.h. src/base/native-io.ts documents each function.
#include "codec-exports.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace ostraka {

const Code& codeAt(const Arguments& args) {
  const int64_t k = args.integer(0, 1, kShardsMax);
  const int64_t m = args.integer(1, 0, kShardsMax);
  if (!Code::valid(k, m)) throwType(args.env, "a code has at most 32 shards");
  return Code::get(static_cast<int>(k), static_cast<int>(m));
}

// Arrays of shards, some of which may be missing; all of one length.
static void shardsAt(const Arguments& args, size_t at, size_t places, bool optional, uint8_t** pointers, int64_t* length) {
  const std::vector<napi_value> elements = args.elements(at, places);
  if (elements.size() != places) throwType(args.env, "there must be a place for each shard");
  for (size_t i = 0; i < places; i++) {
    const Bytes bytes = optional ? args.optionalBytes(elements[i], "a shard") : args.bytesOf(elements[i], "a shard");
    pointers[i] = bytes.data;
    if (bytes.data == nullptr) continue;
    if (*length < 0) *length = static_cast<int64_t>(bytes.count);
    if (*length != static_cast<int64_t>(bytes.count) || *length > INT32_MAX) throwType(args.env, "shards must have one length");
  }
}

napi_value rebuild(const Arguments& args, Environment&) {
  const Code& code = codeAt(args);
  const auto places = static_cast<size_t>(code.k + code.m);
  uint8_t* sources[kShardsMax];
  uint8_t* targets[kShardsMax];
  int64_t length = -1;
  shardsAt(args, 2, places, true, sources, &length);
  shardsAt(args, 3, places, true, targets, &length);
  if (!code.rebuild(static_cast<size_t>(length < 0 ? 0 : length), sources, targets)) throwType(args.env, "fewer than k shards are there");
  return undefined(args.env);
}

napi_value encodeBaselineMs(const Arguments& args, Environment&) {
  const Code& code = codeAt(args);
  uint8_t* data[kShardsMax];
  uint8_t* parity[kShardsMax];
  int64_t length = -1;
  shardsAt(args, 2, static_cast<size_t>(code.k), false, data, &length);
  shardsAt(args, 3, static_cast<size_t>(code.m), false, parity, &length);
  const int64_t rounds = args.integer(4, 1, 1000000);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < rounds; i++) code.encodeBaseline(static_cast<size_t>(length), data, parity);
  napi_value result;
  check(napi_create_double(args.env, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count(), &result));
  return result;
}

napi_value crc32cOf(const Arguments& args, Environment&) {
  const Bytes bytes = args.bytes(0);
  return number(args.env, crc32c(bytes.data, bytes.count, static_cast<uint32_t>(args.integer(1, 0, UINT32_MAX))));
}

napi_value frameSeedOf(const Arguments& args, Environment&) {
  const auto seed = static_cast<uint32_t>(args.integer(0, 0, UINT32_MAX));
  return number(args.env, frameSeed(seed, static_cast<uint32_t>(args.integer(1, 0, UINT32_MAX))));
}

napi_value frameCrcs(const Arguments& args, Environment&) {
  const Bytes bytes = args.bytes(0);
  const auto seed = static_cast<uint32_t>(args.integer(1, 0, UINT32_MAX));
  const auto first = static_cast<uint32_t>(args.integer(2, 0, UINT32_MAX));
  const size_t frames = (bytes.count + kFrameBytes - 1) / kFrameBytes;
  napi_value memory, result;
  void* data;
  check(napi_create_arraybuffer(args.env, frames * sizeof(uint32_t), &data, &memory));
  for (size_t i = 0; i < frames; i++) {
    const size_t from = i * kFrameBytes;
    static_cast<uint32_t*>(data)[i] = crc32c(bytes.data + from, std::min(kFrameBytes, bytes.count - from),
                                             frameSeed(seed, first + static_cast<uint32_t>(i)));
  }
  check(napi_create_typedarray(args.env, napi_uint32_array, frames, memory, 0, &result));
  return result;
}

}  // namespace ostraka
