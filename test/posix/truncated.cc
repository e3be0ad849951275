// Files that one process opens with O_TRUNC while another appends to them, at the same moment: what is left is nothing, or what was appended after it.
//
//   truncated DIRECTORY COUNT       leaves files 0 to COUNT-1
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr size_t kOldBytes = 5000;
constexpr size_t kNewBytes = 100;

void require(bool fine, const char* what) {
  if (fine) return;
  std::perror(what);
  std::_Exit(2);
}

// Both processes reach this place of a round before either goes on.
void meet(std::atomic<long>& arrived, long target) {
  arrived.fetch_add(1);
  while (arrived.load() < target);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || chdir(argv[1]) != 0) {
    std::fprintf(stderr, "usage: truncated DIRECTORY COUNT\n");
    return 2;
  }
  const long count = std::atol(argv[2]);
  void* shared = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  require(shared != MAP_FAILED, "mmap");
  auto& arrived = *new (shared) std::atomic<long>(0);
  for (long i = 0; i < count; i++) {
    const int fd = open(std::to_string(i).c_str(), O_CREAT | O_EXCL | O_WRONLY, 0666);
    const std::string old(kOldBytes, 'o');
    require(fd >= 0 && write(fd, old.data(), old.size()) == static_cast<ssize_t>(old.size()) && close(fd) == 0, "making a file");
  }
  const pid_t child = fork();
  require(child >= 0, "fork");
  const bool appends = child == 0;
  const std::string added(kNewBytes, 'n');
  for (long i = 0; i < count; i++) {
    const std::string name = std::to_string(i);
    int fd = appends ? open(name.c_str(), O_WRONLY | O_APPEND) : -1;
    meet(arrived, 2 * i + 2);
    // By and by from before the opening to after it.
    if (appends) {
      for (volatile long wait = 0; wait < (i % 100) * 2000; wait = wait + 1);
      require(write(fd, added.data(), added.size()) == static_cast<ssize_t>(added.size()), "write");
    } else
      fd = open(name.c_str(), O_WRONLY | O_TRUNC);
    require(fd >= 0 && close(fd) == 0, "open");
  }
  if (appends) std::_Exit(0);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? 0 : 1;
}
