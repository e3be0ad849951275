// The kernel's FUSE device: requests in batches into one region of memory, replies out of the same region. Knows neither Node nor the
// protocol beyond the two headers. Any descriptor that keeps message boundaries will do (tests use a SOCK_SEQPACKET socket).
// Used by one thread only; Descriptor may be shared with threads that send notifications.
#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace ostraka::fuse {

// A file descriptor that is closed when its last user lets go, so that no thread ever writes to a number that was given away again.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

// Page-aligned anonymous memory; shared with the JavaScript array buffer over it.
class Region {
 public:
  static std::shared_ptr<Region> create(size_t bytes);  // nullptr: no memory
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Region(char* data, size_t bytes) : data_(data), bytes_(bytes) {}
  char* const data_;
  const size_t bytes_;
};

struct DeviceSizes {
  uint32_t requestBytesMax;  // the longest request, both headers of a WRITE included
  uint32_t batchRequests;    // requests in one batch, at most
  uint32_t batchBytes;       // a batch ends with the request that reaches this
  uint32_t outboxBytes;      // small replies that wait to be written
};

struct DeviceCounters {
  uint64_t requests = 0;
  uint64_t batches = 0;
  uint64_t replies = 0;
  uint64_t interrupted = 0;   // replies to requests that the kernel had given up (ENOENT)
  uint64_t replyErrors = 0;   // replies that the kernel refused; answered EIO instead
};

enum class BatchEnd {
  kDrained,  // nothing waits now
  kFull,     // more may wait
  kGone,     // unmounted or aborted
};

// Layout of the region (JavaScript has the same in src/base/native-fuse.ts):
//   page 0            control words (uint32): [0] bytes in the outbox, [1] 1 while a batch is delivered, [2] device error,
//                     [16 + 2i], [17 + 2i] start (in the region) and length of request i
//   page 1 …          outbox: replies one behind the other, each padded to 8 bytes, its length in its own header
//   behind it         requests. Each starts 80 bytes before a page, so that the data of a WRITE is page-aligned: the kernel then copies
//                     whole pages.
class Device {
 public:
  static constexpr uint32_t kPage = 4096;
  static constexpr uint32_t kWriteHeaders = 80;  // fuse_in_header + fuse_write_in
  static constexpr uint32_t kBatchWord = 16;

  // `descriptor` is switched to non-blocking. nullptr: no memory.
  static std::unique_ptr<Device> create(std::shared_ptr<Descriptor> descriptor, const DeviceSizes& sizes);

  // Reads until nothing waits or a limit is reached. Lists the requests in the control words.
  BatchEnd readBatch(uint32_t* count);
  // Writes all replies of the outbox and empties it.
  void flush();
  // Writes one reply: header and pieces. More pieces than a vectored write takes are put together first.
  void reply(uint64_t unique, const iovec* pieces, size_t count);

  uint32_t* control() const { return reinterpret_cast<uint32_t*>(region_->data()); }
  const std::shared_ptr<Region>& region() const { return region_; }
  const std::shared_ptr<Descriptor>& descriptor() const { return descriptor_; }
  const DeviceCounters& counters() const { return counters_; }
  size_t outboxStart() const { return kPage; }
  size_t requestsStart() const { return requestsStart_; }

 private:
  Device(std::shared_ptr<Descriptor> descriptor, std::shared_ptr<Region> region, const DeviceSizes& sizes, size_t requestsStart);
  void written(ssize_t result, uint64_t unique);

  const std::shared_ptr<Descriptor> descriptor_;
  const std::shared_ptr<Region> region_;
  const DeviceSizes sizes_;
  const size_t requestsStart_;
  DeviceCounters counters_;
};

uint64_t monotonicMicroseconds();

}  // namespace ostraka::fuse
