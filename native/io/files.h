// Files of one disk: a directory that was opened once, and everything below its descriptor. The operations block; they are made for the disk's
// own threads. Each returns 0 or a positive result, or a negative errno.
#ifndef OSTRAKA_IO_FILES_H
#define OSTRAKA_IO_FILES_H

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine.h"

namespace ostraka {

// A disk: its directory, its lock, and three queues, so that neither a long sync nor a write that the kernel throttles holds up what somebody reads.
class Disk {
 public:
  explicit Disk(const std::shared_ptr<Core>& core)
      : fetches(std::make_shared<Queue>(core, 1, Haste::kPrompt, "ostraka-reads")),
        transfers(std::make_shared<Queue>(core, 1, Haste::kSteady, "ostraka-writes")),
        syncs(std::make_shared<Queue>(core, 1, Haste::kPrompt, "ostraka-syncs")) {}
  ~Disk();
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  int64_t open(const std::string& path, std::string* identity);
  // 0, or -ESTALE when `path` leads to something else than what was opened.
  int64_t identityStillAt(const std::string& path) const;
  // Is the directory that `path` lies in, below ours, the one that root/path lies in?
  int64_t samePath(const std::string& root, const std::string& path) const;
  // 0 and it is ours; or the pid of the owner, 1 where it cannot be told.
  int64_t lock(const std::string& path);
  // Gives the lock back. The descriptor is closed on a thread that may hang.
  void unlock();
  // The same on this thread.
  int64_t unlockNow();

  int64_t list(const std::string& path, std::vector<std::string>* names) const;
  int64_t makeDirectory(const std::string& path) const;
  int64_t unlink(const std::string& path) const;
  int64_t rename(const std::string& from, const std::string& to) const;
  int64_t syncDirectory(const std::string& path) const;
  int64_t syncAll() const;
  int64_t capacity(int64_t* totalBytes, int64_t* freeBytes) const;
  // A descriptor.
  int64_t openFile(const std::string& path, bool create, bool write) const;

  int64_t oldestAgeMs() const;
  // Everything queued and running fails with ETIMEDOUT.
  void abandon() const;

  // Reads of stripes, for users.
  const std::shared_ptr<Queue> fetches;
  // Everything else.
  const std::shared_ptr<Queue> transfers;
  const std::shared_ptr<Queue> syncs;

 private:
  int fd_ = -1;
  std::atomic<int> lockFd_{-1};
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// An open file; its descriptor is closed when the last task and the last handle are done with it.
class File {
 public:
  File(std::shared_ptr<Disk> disk, int fd) : disk(std::move(disk)), fd(fd) {}
  ~File() { disk->transfers->closeDescriptor(fd); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::shared_ptr<Disk> disk;
  const int fd;
};

// Names in one directory that `list` returns at most.
constexpr size_t kNamesMax = 1u << 20;

// Is this a path below a directory: relative, with no empty, `.` or `..` component, no NUL, shorter than PATH_MAX?
bool validRelativePath(const std::string& path);

// Writes all of it, continuing after short writes. Changes `parts`.
int64_t writeAll(int fd, int64_t offset, std::vector<iovec>& parts);
// Reads up to `count` bytes; fewer only at the end of the file.
int64_t readFully(int fd, int64_t offset, uint8_t* bytes, size_t count);
// Opens and reads a file (or FIFO) to its end. Only tests use it: a FIFO without a writer holds the thread up.
int64_t readToEnd(const std::string& path);
int64_t dataSync(int fd);
int64_t fileSize(int fd);
// The first byte at or behind `offset` that is not in a hole; the file's end where there is none.
int64_t nextData(int fd, int64_t offset);
int64_t preallocate(int fd, int64_t offset, int64_t count);
int64_t punchHole(int fd, int64_t offset, int64_t count);

}  // namespace ostraka

#endif
