// Memory for shards on their way: large, page-aligned, given back to the system but for a bounded rest that is used again.
#ifndef OSTRAKA_IO_MEMORY_H
#define OSTRAKA_IO_MEMORY_H

#include <cstddef>
#include <cstdint>
#include <utility>

namespace ostraka {

class Memory {
 public:
  Memory() = default;
  // Throws std::bad_alloc.
  explicit Memory(size_t bytes);
  Memory(Memory&& other) noexcept : bytes_(std::exchange(other.bytes_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}
  Memory& operator=(Memory&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~Memory();

  uint8_t* get() const { return bytes_; }

 private:
  uint8_t* bytes_ = nullptr;
  size_t capacity_ = 0;
};

// While it lives, this much more is kept for reuse: for jobs of which one follows the other, each with memory of the same sizes. Pages that are new to
// the process cost a fault and zeroing each.
class MemoryDemand {
 public:
  explicit MemoryDemand(size_t bytes);
  ~MemoryDemand();
  MemoryDemand(const MemoryDemand&) = delete;
  MemoryDemand& operator=(const MemoryDemand&) = delete;

 private:
  const size_t bytes_;
};

}  // namespace ostraka

#endif
