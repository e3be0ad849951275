// See scan.h.
#include "scan.h"

#include <cstring>

#include "codec.h"
#include "files.h"
#include "memory.h"

namespace ostraka {

int64_t scanStretch(int fd, int64_t offset, size_t bytes, const uint8_t* identity, std::vector<uint8_t>* prefixes) {
  const Memory memory(bytes);
  const int64_t got = readFully(fd, offset, memory.get(), bytes);
  if (got < 0) return got;
  const auto count = static_cast<size_t>(got);
  size_t at = 0;
  while (at + kHeaderBytes <= count) {
    const uint8_t* const header = memory.get() + at;
    if (header[0] == 0 && std::memcmp(header, kZeros, kHeaderBytes) == 0) {
      at += kHeaderBytes;
      continue;
    }
    const uint64_t place = getU32(header + kPrefixOffsetAt) | static_cast<uint64_t>(getU32(header + kPrefixOffsetAt + 4)) << 32;
    const bool ours = std::memcmp(header, kRecordMagic, kRecordMagicBytes) == 0 &&
                      std::memcmp(header + kPrefixIdentityAt, identity, kIdentityBytes) == 0 && place == static_cast<uint64_t>(offset) + at;
    const size_t shardBytes = getU32(header + kPrefixShardBytesAt);
    if (!ours || shardBytes == 0 || shardBytes % kShardAlignBytes != 0 || shardBytes > kShardBytesMax) break;
    if (shardBytes > count - at - kHeaderBytes) break;
    if (getU32(header + kHeaderCrcAt) != crc32c(header, kHeaderCrcAt, 0)) break;
    if (!framesMatch(header, header + kHeaderBytes, 0, shardBytes, getU32(header + kPrefixSeedAt))) break;
    prefixes->insert(prefixes->end(), header, header + kPrefixBytes);
    at += kHeaderBytes + shardBytes;
  }
  return static_cast<int64_t>(at);
}

}  // namespace ostraka
