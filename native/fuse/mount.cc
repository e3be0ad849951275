#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

extern char** environ;

namespace ostraka::fuse {

namespace {

constexpr size_t kHelperOutputMax = 2048;
constexpr int kHelperSocket = 3;  // the helper's end of the socket pair, in the helper

Outcome failed(int error, std::string message) {
  Outcome out;
  out.error = error;
  out.message = std::move(message);
  return out;
}


// Runs fusermount3 to its end. `socket`, if not -1, becomes its descriptor 3. Returns errno of starting it, or 0 and the exit status.
int runHelper(const std::vector<std::string>& arguments, int socket, int* status, std::string* output) {
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) < 0) return errno;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, pipes[1], 1);
  posix_spawn_file_actions_adddup2(&actions, pipes[1], 2);
  if (socket >= 0) posix_spawn_file_actions_adddup2(&actions, socket, kHelperSocket);

  std::vector<std::string> environment;
  for (char** entry = environ; *entry; entry++)
    if (strncmp(*entry, "_FUSE_COMMFD=", 13) != 0) environment.emplace_back(*entry);
  if (socket >= 0) environment.push_back("_FUSE_COMMFD=" + std::to_string(kHelperSocket));
  std::vector<char*> argv, envp;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  for (const std::string& entry : environment) envp.push_back(const_cast<char*>(entry.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  pid_t child;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  close(pipes[1]);
  if (error == 0) {
    char buffer[512];
    for (ssize_t got; (got = read(pipes[0], buffer, sizeof buffer)) != 0;) {
      if (got < 0 && errno != EINTR) break;
      if (got > 0 && output->size() < kHelperOutputMax) output->append(buffer, static_cast<size_t>(got));
    }
    while (waitpid(child, status, 0) < 0 && errno == EINTR) continue;
    while (!output->empty() && output->back() == '\n') output->pop_back();
  }
  close(pipes[0]);
  return error;
}

Outcome helperMissing(int error) { return failed(error, std::string("cannot run fusermount3: ") + strerror(error)); }

// The helper does not tell its errno, only a sentence that ends with strerror's words.
int errorInWords(const std::string& words, int otherwise) {
  for (const int candidate : {EBUSY, EPERM, EACCES, ENOENT, ENOTDIR, EINVAL, ENODEV, ENOTCONN})
    if (words.find(strerror(candidate)) != std::string::npos) return candidate;
  return otherwise;
}

int receiveDescriptor(int socket) {
  char byte;
  iovec vector = {&byte, 1};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  ssize_t got;
  do got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got <= 0) return -1;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS || part->cmsg_len != CMSG_LEN(sizeof(int))) continue;
    int fd;
    memcpy(&fd, CMSG_DATA(part), sizeof fd);
    return fd;
  }
  return -1;
}

Outcome mountByHelper(const MountRequest& request) {
  std::string options = "fsname=" + request.source + ",subtype=" + request.subtype + ",default_permissions,nosuid,nodev,max_read=" +
                        std::to_string(request.maxReadBytes);
  if (request.allowOther) options += ",allow_other";
  if (request.readOnly) options += ",ro";
  if (request.noExec) options += ",noexec";
  if (request.noAtime) options += ",noatime";
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return failed(errno, "no socket pair for fusermount3");
  int status = 0;
  std::string output;
  const int error = runHelper({"fusermount3", "-o", options, "--", request.mountpoint}, pair[1], &status, &output);
  close(pair[1]);
  Outcome out;
  if (error != 0) {
    out = helperMissing(error);
  } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    out = failed(errorInWords(output, EPERM), output.empty() ? "fusermount3 failed" : output);
  } else {
    out.fd = receiveDescriptor(pair[0]);
    if (out.fd < 0) out = failed(EIO, "fusermount3 gave no descriptor");
  }
  close(pair[0]);
  return out;
}

Outcome mountDirect(const MountRequest& request) {
  struct stat root;
  if (stat(request.mountpoint.c_str(), &root) < 0) return failed(errno, strerror(errno));
  const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) return failed(errno == ENOENT ? ENODEV : errno, std::string("cannot open /dev/fuse: ") + strerror(errno));
  char options[256];
  snprintf(options, sizeof options, "fd=%d,rootmode=%o,user_id=%u,group_id=%u,default_permissions,max_read=%u%s", fd, root.st_mode & S_IFMT,
           geteuid(), getegid(), request.maxReadBytes, request.allowOther ? ",allow_other" : "");
  unsigned long flags = MS_NOSUID | MS_NODEV;
  if (request.readOnly) flags |= MS_RDONLY;
  if (request.noExec) flags |= MS_NOEXEC;
  if (request.noAtime) flags |= MS_NOATIME;
  const std::string type = "fuse." + request.subtype;
  if (::mount(request.source.c_str(), request.mountpoint.c_str(), type.c_str(), flags, options) < 0) {
    const int error = errno;
    close(fd);
    return failed(error, std::string("mount: ") + strerror(error));
  }
  Outcome out;
  out.fd = fd;
  return out;
}

}  // namespace

Outcome mount(const MountRequest& request) { return request.byHelper ? mountByHelper(request) : mountDirect(request); }

Outcome unmount(const std::string& mountpoint, bool lazy, bool byHelper) {
  if (!byHelper) {
    if (umount2(mountpoint.c_str(), UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0) return failed(errno, strerror(errno));
    return {};
  }
  int status = 0;
  std::string output;
  std::vector<std::string> arguments = {"fusermount3", "-u"};
  if (lazy) arguments.push_back("-z");
  arguments.push_back("--");
  arguments.push_back(mountpoint);
  const int error = runHelper(arguments, -1, &status, &output);
  if (error != 0) return helperMissing(error);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return failed(errorInWords(output, EPERM), output.empty() ? "fusermount3 failed" : output);
  return {};
}

Outcome probe(const std::string& path) {
  // Not stat: the kernel answers that from its cache for as long as the attributes are valid, also when the server is gone.
  struct statfs found;
  if (statfs(path.c_str(), &found) < 0) return failed(errno, strerror(errno));
  return {};
}

Outcome notify(int fd, const std::string& message) {
  ssize_t result;
  do result = write(fd, message.data(), message.size());
  while (result < 0 && errno == EINTR);
  return result < 0 ? failed(errno, strerror(errno)) : Outcome{};
}

}  // namespace ostraka::fuse
