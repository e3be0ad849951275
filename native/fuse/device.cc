#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace ostraka::fuse {

namespace {

struct OutHeader {
  uint32_t length;
  int32_t error;
  uint64_t unique;
};
static_assert(sizeof(OutHeader) == 16, "fuse_out_header has 16 bytes");

// Fewer bytes than a request's header: not a message of the kernel's.
constexpr ssize_t kInHeaderBytes = 40;

size_t roundUp(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

std::shared_ptr<Region> Region::create(size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  // A forked child must not share the pages while the kernel copies into them.
  madvise(data, bytes, MADV_DONTFORK);
  return std::shared_ptr<Region>(new Region(static_cast<char*>(data), bytes));
}

Region::~Region() { munmap(data_, bytes_); }

std::unique_ptr<Device> Device::create(std::shared_ptr<Descriptor> descriptor, const DeviceSizes& sizes) {
  const size_t requestsStart = kPage + roundUp(sizes.outboxBytes, kPage);
  // A request may begin anywhere up to batchBytes behind the first one and needs room for the longest.
  const size_t bytes = requestsStart + kPage + roundUp(sizes.batchBytes, kPage) + kPage + roundUp(sizes.requestBytesMax, kPage);
  std::shared_ptr<Region> region = Region::create(bytes);
  if (!region || (kBatchWord + 2 * sizes.batchRequests) * sizeof(uint32_t) > kPage) return nullptr;
  const int flags = fcntl(descriptor->get(), F_GETFL);
  if (flags < 0 || fcntl(descriptor->get(), F_SETFL, flags | O_NONBLOCK) < 0) return nullptr;
  return std::unique_ptr<Device>(new Device(std::move(descriptor), std::move(region), sizes, requestsStart));
}

Device::Device(std::shared_ptr<Descriptor> descriptor, std::shared_ptr<Region> region, const DeviceSizes& sizes, size_t requestsStart)
    : descriptor_(std::move(descriptor)), region_(std::move(region)), sizes_(sizes), requestsStart_(requestsStart) {}

BatchEnd Device::readBatch(uint32_t* count) {
  const size_t first = requestsStart_ + kPage - kWriteHeaders;
  size_t start = first;
  uint32_t found = 0;
  BatchEnd end = BatchEnd::kFull;
  while (found < sizes_.batchRequests && start - first < sizes_.batchBytes) {
    const ssize_t length = read(descriptor_->get(), region_->data() + start, sizes_.requestBytesMax);
    if (length >= kInHeaderBytes) {
      control()[kBatchWord + 2 * found] = static_cast<uint32_t>(start);
      control()[kBatchWord + 2 * found + 1] = static_cast<uint32_t>(length);
      found++;
      start = roundUp(start + static_cast<size_t>(length) + kWriteHeaders, kPage) - kWriteHeaders;
      continue;
    }
    // ENOENT: the request was interrupted before we had it. EINTR: a signal came.
    if (length < 0 && (errno == EINTR || errno == ENOENT)) continue;
    if (length < 0 && errno == EAGAIN) {
      end = BatchEnd::kDrained;
    } else {
      control()[2] = static_cast<uint32_t>(length < 0 ? errno : ENODEV);
      end = BatchEnd::kGone;
    }
    break;
  }
  *count = found;
  counters_.requests += found;
  if (found > 0) counters_.batches++;
  return end;
}

void Device::written(ssize_t result, uint64_t unique) {
  counters_.replies++;
  if (result >= 0 || errno == ENODEV) return;  // gone: reading says so too
  if (errno == ENOENT) {
    counters_.interrupted++;
    return;
  }
  // The kernel did not like it. Whoever waits must not wait for ever.
  counters_.replyErrors++;
  const OutHeader header = {sizeof(OutHeader), -EIO, unique};
  ssize_t ignored;
  do ignored = write(descriptor_->get(), &header, sizeof header);
  while (ignored < 0 && errno == EINTR);
}

void Device::flush() {
  const size_t end = std::min<size_t>(control()[0], sizes_.outboxBytes);
  control()[0] = 0;
  const char* outbox = region_->data() + outboxStart();
  for (size_t at = 0; at + sizeof(OutHeader) <= end;) {
    OutHeader header;
    memcpy(&header, outbox + at, sizeof header);
    if (header.length < sizeof header || header.length > end - at) break;  // a bug of ours: nothing behind it can be trusted
    ssize_t result;
    do result = write(descriptor_->get(), outbox + at, header.length);
    while (result < 0 && errno == EINTR);
    written(result, header.unique);
    at += roundUp(header.length, 8);
  }
}

void Device::reply(uint64_t unique, const iovec* pieces, size_t count) {
  OutHeader header = {sizeof(OutHeader), 0, unique};
  std::vector<char> joined;
  iovec small[IOV_MAX];
  small[0] = {&header, sizeof header};
  size_t bytes = 0;
  for (size_t i = 0; i < count; i++) bytes += pieces[i].iov_len;
  size_t used = 1;
  if (count < IOV_MAX) {
    std::copy(pieces, pieces + count, small + 1);
    used += count;
  } else {
    joined.reserve(bytes);
    for (size_t i = 0; i < count; i++) {
      const char* from = static_cast<const char*>(pieces[i].iov_base);
      joined.insert(joined.end(), from, from + pieces[i].iov_len);
    }
    small[used++] = {joined.data(), joined.size()};
  }
  header.length = static_cast<uint32_t>(sizeof header + bytes);
  ssize_t result;
  do result = writev(descriptor_->get(), small, static_cast<int>(used));
  while (result < 0 && errno == EINTR);
  written(result, unique);
}

uint64_t monotonicMicroseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

}  // namespace ostraka::fuse
