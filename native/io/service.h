// What a service does for its manager, and Node has no call for: datagrams to a Unix socket, and becoming another program.
#ifndef OSTRAKA_IO_SERVICE_H
#define OSTRAKA_IO_SERVICE_H

#include <cstdint>
#include <string>
#include <vector>

namespace ostraka {

// One datagram to the socket at `path`; a path that begins with '@' is in the abstract name space, as in sd_notify(3). Does not wait.
// 0 or a negative errno: EAGAIN the receiver's queue is full.
int64_t sendDatagram(const std::string& path, const std::string& text);

// execve: this process becomes another program; standard streams stay (blocking again), all other descriptors are closed. The order of the
// environment is the caller's. Comes back only with a negative errno.
int64_t become(const std::string& program, const std::vector<std::string>& arguments, const std::vector<std::string>& environment);

}  // namespace ostraka

#endif
