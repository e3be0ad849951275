// The constants of a shard record, as in src/base/limits.ts and src/disk/stripe.ts; README.md lays out its bytes.
#ifndef OSTRAKA_IO_FORMAT_H
#define OSTRAKA_IO_FORMAT_H

#include <cstddef>
#include <cstdint>

namespace ostraka {

constexpr size_t kFrameBytes = 16384;       // FRAME_BYTES: what one CRC covers
constexpr size_t kHeaderBytes = 4096;       // RECORD_HEADER_BYTES
constexpr size_t kPrefixBytes = 256;        // RECORD_PREFIX_BYTES: the CRC table follows
constexpr size_t kHeaderCrcAt = 4092;       // CRC32C of all header bytes before it
constexpr size_t kFramesMax = 512;          // RECORD_FRAMES_MAX
constexpr size_t kShardAlignBytes = 4096;   // SHARD_ALIGN_BYTES
constexpr size_t kShardBytesMax = kFramesMax * kFrameBytes;
constexpr int kShardsMax = 32;              // BLOB_SHARDS_MAX

// What a scan reads of the prefix, which is otherwise the caller's; src/storage/README.md lays it out.
constexpr char kRecordMagic[] = "OSTKSHRD";
constexpr size_t kRecordMagicBytes = 8;
constexpr size_t kPrefixIdentityAt = 16;    // pool, disk, epoch, segment: 32 bytes
constexpr size_t kPrefixOffsetAt = 48;
constexpr size_t kPrefixShardBytesAt = 72;
constexpr size_t kPrefixSeedAt = 76;

static_assert(kPrefixBytes + 4 * kFramesMax <= kHeaderCrcAt, "the CRC table fits into the header");

inline void putU32(uint8_t* at, uint32_t value) {
  at[0] = static_cast<uint8_t>(value);
  at[1] = static_cast<uint8_t>(value >> 8);
  at[2] = static_cast<uint8_t>(value >> 16);
  at[3] = static_cast<uint8_t>(value >> 24);
}

inline uint32_t getU32(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 | static_cast<uint32_t>(at[2]) << 16 |
         static_cast<uint32_t>(at[3]) << 24;
}

}  // namespace ostraka

#endif
