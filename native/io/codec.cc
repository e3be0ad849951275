// See codec.h. ISA-L does the arithmetic; here is only what goes around it.
#include "codec.h"

#include <isa-l/crc.h>
#include <isa-l/erasure_code.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>

namespace ostraka {

alignas(4096) const uint8_t kZeros[kZerosBytes] = {};

uint32_t crc32c(const uint8_t* bytes, size_t count, uint32_t seed) {
  constexpr size_t step = 1u << 30;  // ISA-L takes an int
  uint32_t crc = seed;
  while (count > 0) {
    const size_t now = std::min(count, step);
    crc = crc32_iscsi(const_cast<uint8_t*>(bytes), static_cast<int>(now), crc);
    bytes += now;
    count -= now;
  }
  return crc;
}

uint32_t frameSeed(uint32_t seed, uint32_t frame) {
  uint32_t x = seed + (frame + 1) * 0x9e3779b1u;
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  return x ^ (x >> 13);
}

uint32_t frameCrc(const ShardView& shard, size_t shardBytes, uint32_t seed, uint32_t frame) {
  const size_t from = frame * kFrameBytes;
  const size_t to = std::min(from + kFrameBytes, shardBytes);
  const size_t filled = std::clamp(shard.present, from, to);
  uint32_t crc = frameSeed(seed, frame);
  if (filled > from) crc = crc32c(shard.bytes + from, filled - from, crc);
  return crc32c(kZeros, to - filled, crc);
}

void fillHeader(uint8_t* header, const uint8_t* prefix, const ShardView& shard, size_t shardBytes, uint32_t seed) {
  std::memcpy(header, prefix, kPrefixBytes);
  std::memset(header + kPrefixBytes, 0, kHeaderBytes - kPrefixBytes);
  const size_t frames = (shardBytes + kFrameBytes - 1) / kFrameBytes;
  for (size_t frame = 0; frame < frames; frame++)
    putU32(header + kPrefixBytes + 4 * frame, frameCrc(shard, shardBytes, seed, static_cast<uint32_t>(frame)));
  putU32(header + kHeaderCrcAt, crc32c(header, kHeaderCrcAt, 0));
}

bool headerMatches(const uint8_t* header, const uint8_t* prefix) {
  return std::memcmp(header, prefix, kPrefixBytes) == 0 && getU32(header + kHeaderCrcAt) == crc32c(header, kHeaderCrcAt, 0);
}

Code::Code(int k, int m) : k(k), m(m), matrix_(static_cast<size_t>(k + m) * k), tables_(static_cast<size_t>(32) * k * m) {
  gf_gen_cauchy1_matrix(matrix_.data(), k + m, k);
  if (m > 0) ec_init_tables(k, m, matrix_.data() + k * k, tables_.data());
}

const Code& Code::get(int k, int m) {
  // Never destroyed: threads that outlive the process's teardown may still look.
  static auto* mutex = new std::mutex;
  static auto* codes = new std::unique_ptr<Code>[(kShardsMax + 1) * (kShardsMax + 1)];
  std::lock_guard<std::mutex> lock(*mutex);
  auto& code = codes[k * (kShardsMax + 1) + m];
  if (!code) code.reset(new Code(k, m));
  return *code;
}

int Code::parityTables(uint8_t* const* parity, uint8_t** outputs, std::vector<uint8_t>& own, const uint8_t** tables) const {
  const size_t row = static_cast<size_t>(32) * k;
  int count = 0;
  for (int i = 0; i < m; i++)
    if (parity[i] != nullptr) outputs[count++] = parity[i];
  if (count == m) {
    *tables = tables_.data();
    return count;
  }
  own.clear();
  for (int i = 0; i < m; i++)
    if (parity[i] != nullptr) own.insert(own.end(), tables_.begin() + i * row, tables_.begin() + (i + 1) * row);
  *tables = own.data();
  return count;
}

static void run(size_t bytes, int k, int outputs, const uint8_t* tables, const uint8_t* const* sources, uint8_t** targets) {
  if (bytes == 0 || outputs == 0) return;
  ec_encode_data(static_cast<int>(bytes), k, outputs, const_cast<uint8_t*>(tables), const_cast<uint8_t**>(sources), targets);
}

void Code::encodeBaseline(size_t bytes, const uint8_t* const* data, uint8_t* const* parity) const {
  run(bytes, k, m, tables_.data(), data, const_cast<uint8_t**>(parity));
}

void Code::encode(size_t shardBytes, const ShardView* data, uint8_t* const* parity) const {
  uint8_t* outputs[kShardsMax];
  std::vector<uint8_t> own;
  const uint8_t* tables;
  const int rows = parityTables(parity, outputs, own, &tables);
  const uint8_t* sources[kShardsMax];
  // Column by column, cut where a shard's bytes end and, beside absent bytes, after as many zeros as we have.
  for (size_t from = 0; from < shardBytes;) {
    size_t to = shardBytes;
    bool padded = false;
    for (int i = 0; i < k; i++) {
      if (data[i].present > from) to = std::min(to, data[i].present);
      else padded = true;
    }
    if (padded) to = std::min(to, from + kZerosBytes);
    for (int i = 0; i < k; i++) sources[i] = data[i].present > from ? data[i].bytes + from : kZeros;
    run(to - from, k, rows, tables, sources, outputs);
    for (int i = 0; i < rows; i++) outputs[i] += to - from;
    from = to;
  }
}

bool Code::rebuild(size_t bytes, const uint8_t* const* sources, uint8_t* const* targets) const {
  int chosen[kShardsMax] = {};
  const uint8_t* inputs[kShardsMax];
  int count = 0;
  for (int i = 0; i < k + m && count < k; i++) {
    if (sources[i] == nullptr) continue;
    chosen[count] = i;
    inputs[count++] = sources[i];
  }
  if (count < k) return false;

  bool dataWanted = false;
  for (int i = 0; i < k; i++) dataWanted = dataWanted || targets[i] != nullptr;
  uint8_t* outputs[kShardsMax];
  std::vector<uint8_t> own;
  if (chosen[k - 1] == k - 1 && !dataWanted) {  // plain encoding: the cached tables will do
    const uint8_t* tables;
    const int rows = parityTables(targets + k, outputs, own, &tables);
    run(bytes, k, rows, tables, inputs, outputs);
    return true;
  }

  // The chosen rows map data to the chosen shards; their inverse maps back, and a target's row after it to the target.
  uint8_t rowsChosen[kShardsMax * kShardsMax];
  uint8_t inverse[kShardsMax * kShardsMax];
  uint8_t wanted[kShardsMax * kShardsMax];
  for (int i = 0; i < k; i++) std::memcpy(rowsChosen + i * k, matrix_.data() + chosen[i] * k, k);
  if (gf_invert_matrix(rowsChosen, inverse, k) != 0) return false;  // cannot be: every k rows of a Cauchy code are independent
  int rows = 0;
  for (int target = 0; target < k + m; target++) {
    if (targets[target] == nullptr) continue;
    for (int column = 0; column < k; column++) {
      uint8_t sum = 0;
      for (int i = 0; i < k; i++) sum ^= gf_mul(matrix_[target * k + i], inverse[i * k + column]);
      wanted[rows * k + column] = sum;
    }
    outputs[rows++] = targets[target];
  }
  if (rows == 0) return true;
  own.resize(static_cast<size_t>(32) * k * rows);
  ec_init_tables(k, rows, wanted, own.data());
  run(bytes, k, rows, own.data(), inputs, outputs);
  return true;
}

}  // namespace ostraka
