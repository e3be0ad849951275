// Finding and verifying the good records of a stretch of a segment file, many with one read.
#ifndef OSTRAKA_IO_SCAN_H
#define OSTRAKA_IO_SCAN_H

#include <cstdint>
#include <vector>

#include "format.h"

namespace ostraka {

// What a record's prefix says of where it lies: pool, disk, epoch and segment.
constexpr size_t kIdentityBytes = 32;

// Reads up to `bytes` of the file from `offset` on and walks over records and blocks of zeros as far as all is good: header and frames match their
// checksums, and the header names this place. Stops before the first block of which that cannot be said, or that does not lie in the stretch as a whole
// record. Returns how many bytes were walked over, or a negative errno; `prefixes` gets those of the records, one behind the other.
int64_t scanStretch(int fd, int64_t offset, size_t bytes, const uint8_t* identity, std::vector<uint8_t>* prefixes);

}  // namespace ostraka

#endif
