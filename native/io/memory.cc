// See memory.h.
#include "memory.h"

#include <sys/mman.h>

#include <mutex>
#include <new>
#include <vector>

namespace ostraka {

namespace {

// Kept for reuse: the parity of two stores in flight at the default blob size.
constexpr size_t kKeptBytesMax = 8 * 1024 * 1024;
constexpr size_t kGranuleBytes = 64 * 1024;

struct Piece {
  uint8_t* bytes;
  size_t capacity;
};

struct Pool {
  std::mutex mutex;
  std::vector<Piece> free;  // oldest first
  size_t freeBytes = 0;
  size_t keptBytesMax = kKeptBytesMax;

  // What is beyond the bound; to be unmapped without the lock.
  std::vector<Piece> takeExcess() {
    std::vector<Piece> excess;
    while (freeBytes > keptBytesMax) {
      freeBytes -= free.front().capacity;
      excess.push_back(free.front());
      free.erase(free.begin());
    }
    return excess;
  }
};

// Never destroyed: threads that outlive the process's teardown may still use it.
Pool& pool() {
  static auto* instance = new Pool;
  return *instance;
}

void unmap(const std::vector<Piece>& pieces) {
  for (const Piece& piece : pieces) munmap(piece.bytes, piece.capacity);
}

}  // namespace

MemoryDemand::MemoryDemand(size_t bytes) : bytes_(bytes) {
  std::lock_guard<std::mutex> lock(pool().mutex);
  pool().keptBytesMax += bytes_;
}

MemoryDemand::~MemoryDemand() {
  std::vector<Piece> excess;
  {
    std::lock_guard<std::mutex> lock(pool().mutex);
    pool().keptBytesMax -= bytes_;
    excess = pool().takeExcess();
  }
  unmap(excess);
}

Memory::Memory(size_t bytes) {
  const size_t capacity = (bytes + kGranuleBytes - 1) / kGranuleBytes * kGranuleBytes;
  Pool& shared = pool();
  {
    std::lock_guard<std::mutex> lock(shared.mutex);
    for (size_t i = shared.free.size(); i-- > 0;) {
      if (shared.free[i].capacity != capacity) continue;
      bytes_ = shared.free[i].bytes;
      capacity_ = capacity;
      shared.freeBytes -= capacity;
      shared.free.erase(shared.free.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    }
  }
  void* mapped = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  bytes_ = static_cast<uint8_t*>(mapped);
  capacity_ = capacity;
}

Memory::~Memory() {
  if (bytes_ == nullptr) return;
  std::vector<Piece> excess;
  Pool& shared = pool();
  {
    std::lock_guard<std::mutex> lock(shared.mutex);
    shared.free.push_back({bytes_, capacity_});
    shared.freeBytes += capacity_;
    excess = shared.takeExcess();
  }
  unmap(excess);
}

}  // namespace ostraka
