// Mounting, unmounting and probing of mount points. Every function here may wait, for other file systems or for our own mount: never call
// one on the thread that serves the mount.
#pragma once
#include <cstdint>
#include <string>

namespace ostraka::fuse {

struct MountRequest {
  std::string mountpoint;
  std::string source;   // as shown by mount(8); no comma, no backslash
  std::string subtype;  // the type is fuse.SUBTYPE
  uint32_t maxReadBytes = 0;
  bool allowOther = false;
  bool readOnly = false;
  bool noExec = false;
  bool noAtime = false;
  bool byHelper = false;  // through fusermount3, for those who may not mount(2)
};

struct Outcome {
  int error = 0;  // errno, 0: done
  int fd = -1;    // of mount: the connection to the kernel
  std::string message;
};

Outcome mount(const MountRequest& request);
// Lazy: detaches at once and lets go when the last user has. Not lazy: EBUSY while in use.
Outcome unmount(const std::string& mountpoint, bool lazy, bool byHelper);
// stat(2); a mount whose server died answers ENOTCONN.
Outcome probe(const std::string& path);
// Sends one notification to the kernel.
Outcome notify(int fd, const std::string& message);

}  // namespace ostraka::fuse
