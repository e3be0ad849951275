// See files.h.
#include "files.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace ostraka {

namespace {

// A descriptor that is closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

int openRetrying(int directory, const char* path, int flags, mode_t mode = 0) {
  int fd;
  do fd = ::openat(directory, path, flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

// Opens the directory at `path` below `root`, following no links. '' is a second descriptor of `root`.
int openDirectoryBelow(int root, const std::string& path, int flags) {
  if (path.empty()) return openRetrying(root, ".", flags | O_DIRECTORY);
  int current = -1;
  for (size_t from = 0; from <= path.size();) {
    size_t to = path.find('/', from);
    if (to == std::string::npos) to = path.size();
    const bool last = to == path.size();
    const int next = openRetrying(current < 0 ? root : current, path.substr(from, to - from).c_str(),
                                  (last ? flags : O_PATH) | O_DIRECTORY | O_NOFOLLOW);
    const int error = errno;
    if (current >= 0) ::close(current);
    if (next < 0) {
      errno = error;
      return -1;
    }
    current = next;
    from = to + 1;
  }
  return current;
}

// A path split into an open parent and a name in it. For paths of one component the parent is the root itself.
class Place {
 public:
  Place(int root, const std::string& path) : opened_(-1), root_(root) {
    const size_t slash = path.rfind('/');
    name_ = slash == std::string::npos ? path : path.substr(slash + 1);
    if (slash == std::string::npos) return;
    opened_ = openDirectoryBelow(root, path.substr(0, slash), O_PATH);
    error_ = opened_ < 0 ? errno : 0;
  }
  ~Place() {
    if (opened_ >= 0) ::close(opened_);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  int error() const { return error_; }
  int parent() const { return opened_ >= 0 ? opened_ : root_; }
  const char* name() const { return name_.c_str(); }

 private:
  int opened_;
  int root_;
  int error_ = 0;
  std::string name_;
};

int64_t result(int value) { return value < 0 ? -errno : value; }

}  // namespace

bool validRelativePath(const std::string& path) {
  if (path.empty() || path.size() >= PATH_MAX || path.find('\0') != std::string::npos) return false;
  for (size_t from = 0; from <= path.size();) {
    size_t to = path.find('/', from);
    if (to == std::string::npos) to = path.size();
    const std::string part = path.substr(from, to - from);
    if (part.empty() || part == "." || part == "..") return false;
    from = to + 1;
  }
  return true;
}

// ── The disk ────────────────────────────────────────────────────────────────────────────────────────────────────────────

Disk::~Disk() {
  unlock();
  transfers->closeDescriptor(fd_);
  fetches->close();
  transfers->close();
  syncs->close();
}

int64_t Disk::oldestAgeMs() const { return std::max({fetches->oldestAgeMs(), transfers->oldestAgeMs(), syncs->oldestAgeMs()}); }

void Disk::abandon() const {
  fetches->abandon();
  transfers->abandon();
  syncs->abandon();
}

int64_t Disk::open(const std::string& path, std::string* identity) {
  if (fd_ >= 0) return -EALREADY;
  Descriptor fd(openRetrying(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY));
  struct stat status;
  if (fd.get() < 0 || fstat(fd.get(), &status) != 0) return -errno;
  device_ = status.st_dev;
  inode_ = status.st_ino;
  fd_ = fd.release();
  *identity = std::to_string(device_) + ":" + std::to_string(inode_);
  return 0;
}

int64_t Disk::identityStillAt(const std::string& path) const {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) return -errno;
  return status.st_dev == device_ && status.st_ino == inode_ ? 0 : -ESTALE;
}

int64_t Disk::samePath(const std::string& root, const std::string& path) const {
  const Place place(fd_, path);
  if (place.error() != 0) return -place.error();
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? root : root + "/" + path.substr(0, slash);
  struct stat ours, named;
  if (fstat(place.parent(), &ours) != 0 || stat(parent.c_str(), &named) != 0) return -errno;
  return ours.st_dev == named.st_dev && ours.st_ino == named.st_ino ? 0 : -ESTALE;
}

int64_t Disk::lock(const std::string& path) {
  if (lockFd_.load() >= 0) return -EALREADY;
  const Place place(fd_, path);
  if (place.error() != 0) return -place.error();
  Descriptor fd(openRetrying(place.parent(), place.name(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (fd.get() < 0) return -errno;
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return -errno;
    char text[32] = {};
    const int64_t count = readFully(fd.get(), 0, reinterpret_cast<uint8_t*>(text), sizeof text - 1);
    return count > 0 ? std::max<int64_t>(std::strtoll(text, nullptr, 10), 1) : 1;
  }
  // The pid is for people; a full disk must not keep us from owning it.
  const std::string text = std::to_string(getpid()) + "\n";
  if (ftruncate(fd.get(), 0) != 0 || pwrite(fd.get(), text.data(), text.size(), 0) < 0) {
    if (errno == EIO) return -EIO;
  }
  lockFd_.store(fd.release());
  return 0;
}

void Disk::unlock() { transfers->closeDescriptor(lockFd_.exchange(-1)); }

int64_t Disk::unlockNow() {
  const int fd = lockFd_.exchange(-1);
  if (fd >= 0) ::close(fd);
  return 0;
}

int64_t Disk::list(const std::string& path, std::vector<std::string>* names) const {
  Descriptor fd(openDirectoryBelow(fd_, path, O_RDONLY));
  if (fd.get() < 0) return -errno;
  DIR* stream = fdopendir(fd.get());
  if (stream == nullptr) return -errno;
  fd.release();
  int64_t status = 0;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(stream);
    if (entry == nullptr) {
      status = -errno;
      break;
    }
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    if (names->size() >= kNamesMax) {
      status = -EOVERFLOW;
      break;
    }
    names->emplace_back(entry->d_name);
  }
  closedir(stream);
  return status;
}

int64_t Disk::makeDirectory(const std::string& path) const {
  const Place place(fd_, path);
  if (place.error() != 0) return -place.error();
  if (mkdirat(place.parent(), place.name(), 0700) == 0) return 0;
  if (errno != EEXIST) return -errno;
  struct stat status;
  if (fstatat(place.parent(), place.name(), &status, AT_SYMLINK_NOFOLLOW) != 0) return -errno;
  return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
}

int64_t Disk::unlink(const std::string& path) const {
  const Place place(fd_, path);
  return place.error() != 0 ? -place.error() : result(unlinkat(place.parent(), place.name(), 0));
}

int64_t Disk::rename(const std::string& from, const std::string& to) const {
  const Place source(fd_, from), target(fd_, to);
  if (source.error() != 0) return -source.error();
  if (target.error() != 0) return -target.error();
  return result(renameat(source.parent(), source.name(), target.parent(), target.name()));
}

int64_t Disk::syncDirectory(const std::string& path) const {
  Descriptor fd(openDirectoryBelow(fd_, path, O_RDONLY));
  return fd.get() < 0 ? -errno : result(fsync(fd.get()));
}

int64_t Disk::syncAll() const { return result(syncfs(fd_)); }

int64_t Disk::capacity(int64_t* totalBytes, int64_t* freeBytes) const {
  struct statvfs status;
  if (fstatvfs(fd_, &status) != 0) return -errno;
  *totalBytes = static_cast<int64_t>(status.f_blocks) * static_cast<int64_t>(status.f_frsize);
  *freeBytes = static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize);
  return 0;
}

int64_t Disk::openFile(const std::string& path, bool create, bool write) const {
  const Place place(fd_, path);
  if (place.error() != 0) return -place.error();
  // Non-blocking has no meaning for regular files; it keeps a FIFO in our place from holding us up.
  const int flags = (write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | (create ? O_CREAT | O_EXCL : 0);
  Descriptor fd(openRetrying(place.parent(), place.name(), flags, 0600));
  struct stat status;
  if (fd.get() < 0 || fstat(fd.get(), &status) != 0) return -errno;
  if (S_ISDIR(status.st_mode)) return -EISDIR;
  return S_ISREG(status.st_mode) ? fd.release() : -EINVAL;
}

// ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

int64_t writeAll(int fd, int64_t offset, std::vector<iovec>& parts) {
  for (size_t at = 0; at < parts.size();) {
    const int count = static_cast<int>(std::min<size_t>(parts.size() - at, IOV_MAX));
    ssize_t written = pwritev(fd, &parts[at], count, offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    offset += written;
    bool progress = written > 0;
    for (; at < parts.size() && static_cast<size_t>(written) >= parts[at].iov_len; at++) {
      written -= static_cast<ssize_t>(parts[at].iov_len);
      progress = true;
    }
    if (at < parts.size()) {
      parts[at].iov_base = static_cast<uint8_t*>(parts[at].iov_base) + written;
      parts[at].iov_len -= static_cast<size_t>(written);
    }
    if (!progress) return -EIO;
  }
  return 0;
}

int64_t readFully(int fd, int64_t offset, uint8_t* bytes, size_t count) {
  size_t done = 0;
  while (done < count) {
    const ssize_t now = pread(fd, bytes + done, count - done, offset + static_cast<int64_t>(done));
    if (now == 0) break;
    if (now > 0) done += static_cast<size_t>(now);
    else if (errno != EINTR) return -errno;
  }
  return static_cast<int64_t>(done);
}

int64_t readToEnd(const std::string& path) {
  Descriptor fd(openRetrying(AT_FDCWD, path.c_str(), O_RDONLY));
  if (fd.get() < 0) return -errno;
  char bytes[64];
  ssize_t count;
  do count = read(fd.get(), bytes, sizeof bytes);
  while (count > 0 || (count < 0 && errno == EINTR));
  return count < 0 ? -errno : 0;
}

int64_t dataSync(int fd) {
  int status;
  do status = fdatasync(fd);
  while (status != 0 && errno == EINTR);
  return result(status);
}

int64_t fileSize(int fd) {
  struct stat status;
  return fstat(fd, &status) != 0 ? -errno : static_cast<int64_t>(status.st_size);
}

int64_t nextData(int fd, int64_t offset) {
  const off_t found = lseek(fd, offset, SEEK_DATA);
  if (found >= 0) return found;
  // No data from there on; or a file system that cannot tell, for which all is data.
  if (errno == ENXIO) return std::max(offset, fileSize(fd));
  return errno == EINVAL || errno == EOPNOTSUPP ? offset : -errno;
}

static int64_t allocate(int fd, int mode, int64_t offset, int64_t count) {
  int status;
  do status = fallocate(fd, mode, offset, count);
  while (status != 0 && errno == EINTR);
  // Not every file system can: that costs space or time, nothing else.
  return status != 0 && errno != EOPNOTSUPP && errno != ENOSYS ? -errno : 0;
}

int64_t preallocate(int fd, int64_t offset, int64_t count) { return allocate(fd, FALLOC_FL_KEEP_SIZE, offset, count); }

int64_t punchHole(int fd, int64_t offset, int64_t count) {
  return allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, count);
}

}  // namespace ostraka
