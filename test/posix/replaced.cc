// Names that rename(2) replaces all the time, and processes that use what has them: on a local file system no call ever fails.
//
//   replaced DIRECTORY COUNT      prints each kind of call with the errors it met in COUNT tries, such as "open ESTALE 3"
//
// Ends with 0 when there were none.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace {

constexpr char kByte = 'x';

void require(bool fine, const char* what) {
  if (fine) return;
  std::perror(what);
  std::_Exit(2);
}

// Each new file is whole before it gets the name: a byte, and an attribute.
void make_file(const char* name) {
  const int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0666);
  require(fd >= 0 && write(fd, &kByte, 1) == 1 && fsetxattr(fd, "user.kept", "v", 1, 0) == 0 && close(fd) == 0, "making a file");
}

void make_link(const char* name) { require(symlink("target", name) == 0, "making a link"); }

void replace(void (*make)(const char*), const char* name) {
  const std::string fresh = std::string(name) + "." + std::to_string(getpid());
  make(fresh.c_str());
  require(rename(fresh.c_str(), name) == 0, "rename");
}

// ---- What is done with them. 0: it worked. ----

bool read_file() {
  const int fd = open("file", O_RDONLY);
  if (fd < 0) return false;
  char byte = 0;
  const bool fine = read(fd, &byte, 1) == 1 && byte == kByte;
  const int error = fine ? 0 : errno;
  close(fd);
  errno = error;
  return fine;
}

bool change_mode() { return chmod("file", 0640) == 0; }

bool change_times() { return utimensat(AT_FDCWD, "file", nullptr, 0) == 0; }

bool set_attribute() { return setxattr("file", "user.more", "b", 1, 0) == 0; }

bool get_attribute() {
  char value[8];
  return getxattr("file", "user.kept", value, sizeof value) == 1;
}

bool read_link() {
  char target[8];
  return readlink("link", target, sizeof target) == 6;
}

bool through_link() {
  const int fd = open("link", O_RDONLY);
  return fd >= 0 && close(fd) == 0;
}

struct Call {
  const char* name;
  bool (*run)();
};

constexpr Call kCalls[] = {{"read", read_file},      {"chmod", change_mode},  {"utimensat", change_times}, {"setxattr", set_attribute},
                           {"getxattr", get_attribute}, {"readlink", read_link}, {"open through a link", through_link}};

template <typename Work>
pid_t fork_off(Work work) {
  const pid_t child = fork();
  require(child >= 0, "fork");
  if (child != 0) return child;
  std::_Exit(work());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || chdir(argv[1]) != 0) {
    std::fprintf(stderr, "usage: replaced DIRECTORY COUNT\n");
    return 2;
  }
  const long count = std::atol(argv[2]);
  make_file("target");
  replace(make_file, "file");
  replace(make_link, "link");
  std::vector<pid_t> replacing;
  for (int i = 0; i < 2; i++)
    replacing.push_back(fork_off([] {
      for (;;) {
        replace(make_file, "file");
        replace(make_link, "link");
      }
      return 0;
    }));
  std::vector<pid_t> using_;
  for (const Call& call : kCalls)
    using_.push_back(fork_off([&] {
      std::map<std::string, long> errors;
      for (long i = 0; i < count; i++) {
        errno = 0;
        if (!call.run()) errors[errno == 0 ? "wrong" : strerrorname_np(errno)]++;
      }
      for (const auto& [error, times] : errors) std::printf("%s %s %ld\n", call.name, error.c_str(), times);
      std::fflush(stdout);
      return errors.empty() ? 0 : 1;
    }));
  int failed = 0;
  for (const pid_t child : using_) {
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) failed = 1;
  }
  for (const pid_t child : replacing) {
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status)) failed = 1;
  }
  return failed;
}
