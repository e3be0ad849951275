// Erasure code and checksums: pure functions over memory, for any thread.
#ifndef OSTRAKA_IO_CODEC_H
#define OSTRAKA_IO_CODEC_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "format.h"

namespace ostraka {

// CRC32C without inversion at either end, so it chains: crc(ab, s) = crc(b, crc(a, s)).
uint32_t crc32c(const uint8_t* bytes, size_t count, uint32_t seed);

// The seed of one frame's CRC: mixes so that neighbours differ in about half their bits. The same as in src/disk/stripe.ts.
uint32_t frameSeed(uint32_t seed, uint32_t frame);

// A shard of which only the first `present` bytes are in memory; the rest, up to its length, are zeros.
struct ShardView {
  const uint8_t* bytes;
  size_t present;
};

// CRC of frame `frame` of a shard of `shardBytes`.
uint32_t frameCrc(const ShardView& shard, size_t shardBytes, uint32_t seed, uint32_t frame);

// Fills a record's header block: prefix, the frames' CRCs, the header's own CRC.
void fillHeader(uint8_t* header, const uint8_t* prefix, const ShardView& shard, size_t shardBytes, uint32_t seed);

// Is this the header that was expected, undamaged?
bool headerMatches(const uint8_t* header, const uint8_t* prefix);

// Do these bytes of a shard, from byte `at` (where a frame begins) on, match the CRCs in the header? Whole frames, but for the shard's last one.
bool framesMatch(const uint8_t* header, const uint8_t* bytes, size_t at, size_t count, uint32_t seed);

// The k+m code: systematic Reed-Solomon over GF(2^8) with a Cauchy matrix. Lives for ever, one for each (k, m).
class Code {
 public:
  // k 1…32, m 0…31, k+m at most 32.
  static const Code& get(int k, int m);
  static bool valid(int64_t k, int64_t m) { return k >= 1 && m >= 0 && k + m <= kShardsMax && k <= kShardsMax; }

  const int k;
  const int m;

  // Computes bytes of the targets that are not null from the first k sources that are not null; both arrays have k+m places and
  // every pointer leads to `bytes` bytes. False when there are fewer than k sources.
  bool rebuild(size_t bytes, const uint8_t* const* sources, uint8_t* const* targets) const;

  // Parity rows that are not null in `parity` (m places), from k shards of which parts may be absent (zeros).
  void encode(size_t shardBytes, const ShardView* data, uint8_t* const* parity) const;

  // ISA-L's own call with the tables of this code and nothing around it; what the benchmark compares with.
  void encodeBaseline(size_t bytes, const uint8_t* const* data, uint8_t* const* parity) const;

 private:
  Code(int k, int m);
  // Tables that compute the targets not null from k data shards in order; returns how many, their pointers in `outputs`.
  int parityTables(uint8_t* const* parity, uint8_t** outputs, std::vector<uint8_t>& own, const uint8_t** tables) const;

  std::vector<uint8_t> matrix_;  // (k+m) rows of k coefficients, the first k rows the identity
  std::vector<uint8_t> tables_;  // ISA-L's multiplication tables of the parity rows: 32 bytes a coefficient
};

// `count` zeros at most, for padding.
constexpr size_t kZerosBytes = 65536;
extern const uint8_t kZeros[kZerosBytes];

}  // namespace ostraka

#endif
