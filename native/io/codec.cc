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

bool framesMatch(const uint8_t* header, const uint8_t* bytes, size_t at, size_t count, uint32_t seed) {
  for (size_t done = 0; done < count; done += kFrameBytes) {
    const auto frame = static_cast<uint32_t>((at + done) / kFrameBytes);
    const uint32_t crc = crc32c(bytes + done, std::min(kFrameBytes, count - done), frameSeed(seed, frame));
    if (crc != getU32(header + kPrefixBytes + 4 * frame)) return false;
  }
  return true;
}

// Arithmetic on single elements of the field is our own. ISA-L has it too, but node exports a `gf_mul` of OpenSSL's, and the loader gives that to
// ISA-L's calls of its own: gf_mul, gf_invert_matrix and all `_base` functions would crash. What we do call of ISA-L does not use it.
static uint8_t multiply(unsigned a, unsigned b) {
  unsigned product = 0;
  for (; b != 0; b >>= 1) {
    if ((b & 1) != 0) product ^= a;
    a = a << 1 ^ ((a & 0x80) != 0 ? 0x11d : 0);
  }
  return static_cast<uint8_t>(product);
}

static uint8_t reciprocal(uint8_t a) {
  uint8_t result = 1;
  for (int i = 0; i < 254; i++) result = multiply(result, a);  // a to the 255 is 1
  return result;
}

// Adds `factor` times row `from` to row `to`; both have n elements.
static void addRow(uint8_t* to, const uint8_t* from, uint8_t factor, int n) {
  for (int i = 0; i < n; i++) to[i] ^= multiply(factor, from[i]);
}

// Gauss and Jordan: `matrix` (n × n) becomes the identity, `inverse` what it was the inverse of. False when there is none.
static bool invert(uint8_t* matrix, uint8_t* inverse, int n) {
  for (int i = 0; i < n * n; i++) inverse[i] = i % (n + 1) == 0 ? 1 : 0;
  for (int column = 0; column < n; column++) {
    int pivot = column;
    while (pivot < n && matrix[pivot * n + column] == 0) pivot++;
    if (pivot == n) return false;
    for (uint8_t* rows : {matrix, inverse}) {
      if (pivot != column) std::swap_ranges(rows + pivot * n, rows + pivot * n + n, rows + column * n);
    }
    const uint8_t scale = reciprocal(matrix[column * n + column]);
    for (uint8_t* rows : {matrix, inverse})
      for (int i = 0; i < n; i++) rows[column * n + i] = multiply(scale, rows[column * n + i]);
    for (int row = 0; row < n; row++) {
      const uint8_t factor = matrix[row * n + column];
      if (row == column || factor == 0) continue;
      for (uint8_t* rows : {matrix, inverse}) addRow(rows + row * n, rows + column * n, factor, n);
    }
  }
  return true;
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

// ISA-L hands shorter columns to its `_base` functions (see `multiply` for why not).
constexpr size_t kVectorBytes = 64;

static void run(size_t bytes, int k, int outputs, const uint8_t* tables, const uint8_t* const* sources, uint8_t** targets) {
  if (bytes == 0 || outputs == 0) return;
  if (bytes >= kVectorBytes) {
    ec_encode_data(static_cast<int>(bytes), k, outputs, const_cast<uint8_t*>(tables), const_cast<uint8_t**>(sources), targets);
    return;
  }
  uint8_t padded[2 * kShardsMax][kVectorBytes] = {};
  uint8_t* pointers[2 * kShardsMax];
  for (int i = 0; i < 2 * kShardsMax; i++) pointers[i] = padded[i];
  for (int i = 0; i < k; i++) std::memcpy(padded[i], sources[i], bytes);
  ec_encode_data(kVectorBytes, k, outputs, const_cast<uint8_t*>(tables), pointers, pointers + kShardsMax);
  for (int i = 0; i < outputs; i++) std::memcpy(targets[i], padded[kShardsMax + i], bytes);
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
  if (!invert(rowsChosen, inverse, k)) return false;  // cannot be: every k rows of a Cauchy code are independent
  int rows = 0;
  for (int target = 0; target < k + m; target++) {
    if (targets[target] == nullptr) continue;
    for (int column = 0; column < k; column++) {
      uint8_t sum = 0;
      for (int i = 0; i < k; i++) sum ^= multiply(matrix_[target * k + i], inverse[i * k + column]);
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
