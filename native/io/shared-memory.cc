// See shared-memory.h.
#include "shared-memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace ostraka {

static int64_t prepare(int fd, size_t bytes) {
  struct stat status;
  if (fstat(fd, &status) != 0) return -errno;
  if (status.st_uid != geteuid()) return -EPERM;
  if (!S_ISREG(status.st_mode)) return -EINVAL;
  if (status.st_size != 0 && status.st_size != static_cast<off_t>(bytes)) return -EINVAL;
  // All pages now: a store into a page that cannot be had later would end the process.
  if (fallocate(fd, 0, 0, static_cast<off_t>(bytes)) == 0) return 0;
  if (errno != EOPNOTSUPP) return -errno;
  return ftruncate(fd, static_cast<off_t>(bytes)) == 0 ? 0 : -errno;
}

int64_t mapShared(const std::string& path, size_t bytes, void** address) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (fd < 0) return -errno;
  int64_t status = prepare(fd, bytes);
  if (status == 0) {
    *address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*address == MAP_FAILED) status = -errno;
  }
  close(fd);
  return status;
}

void unmapShared(void* address, size_t bytes) { munmap(address, bytes); }

bool isTmpfs(const std::string& directory) {
  struct statfs status;
  if (statfs(directory.c_str(), &status) != 0) return false;
  const auto type = static_cast<uint32_t>(status.f_type);
  return type == 0x01021994u /* TMPFS_MAGIC */ || type == 0x858458f6u /* RAMFS_MAGIC */;
}

bool setIoFlusher() { return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0; }

}  // namespace ostraka
