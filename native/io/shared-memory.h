// Memory that several processes share by a file's name and that outlives them: for the journal.
#ifndef OSTRAKA_IO_SHARED_MEMORY_H
#define OSTRAKA_IO_SHARED_MEMORY_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace ostraka {

// Maps the file, made with `bytes` zeros if it is not there. 0 and the address, or a negative errno: EPERM it is not ours, EINVAL it
// is not a file of this size.
int64_t mapShared(const std::string& path, size_t bytes, void** address);
void unmapShared(void* address, size_t bytes);
// Does the directory lie in memory?
bool isTmpfs(const std::string& directory);
// PR_SET_IO_FLUSHER: memory reclaim in this thread does not wait for file systems that we serve.
bool setIoFlusher();

}  // namespace ostraka

#endif
