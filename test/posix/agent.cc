// A user of a file system, for the conformance suite: runs as the uid, gid and groups that it is given, reads one command a line, executes exactly the system
// call that it names, and answers with one line. It knows nothing of what is expected.
//
//   agent UID GID [GROUP,...]     agent pause (does nothing until it is killed)
//
//   call NAME ARGUMENT...     =RESULT [HEX...] | !ERRNO       HEX: what came back in o, r, m and V arguments
//   tree PATH                 =LINES HEX                     one line for each file below, sorted, with all that stat tells but atime and device
//   peek ADDRESS BYTES        =0 HEX | !SIGBUS               memory, for mappings
//   poke ADDRESS HEX          =0 | !SIGBUS
//   spawn sPATH sARGUMENT...  =PID | !ERRNO                  fork and execve; ends with wait4 as any child
//   write FD BYTES SEED       =BYTES | !ERRNO                a large write of a pattern
//
// Arguments: iN number · sTEXT string (%XX escapes) · hHEX bytes · mHEX bytes that come back · oN room for N bytes that come back · rN the same, of which as many
// come back as the result says · fN zeros · vHEX,HEX iovec · VN,N iovec of room · n NULL · x an address that is not mapped
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <map>
#include <string>
#include <vector>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

const std::map<std::string, long> kCalls = {
#define C(name) {#name, SYS_##name}
    C(openat), C(close), C(read), C(write), C(pread64), C(pwrite64), C(readv), C(writev), C(preadv2), C(pwritev2), C(lseek), C(ftruncate), C(truncate),
    C(fallocate), C(fsync), C(fdatasync), C(syncfs), C(sync_file_range), C(mkdirat), C(mknodat), C(unlinkat), C(linkat), C(symlinkat), C(readlinkat),
    C(renameat2), C(fchmodat), C(fchmod), C(fchownat), C(fchown), C(utimensat), C(faccessat), C(faccessat2), C(statx), C(statfs), C(fstatfs),
    C(getdents64), C(chdir), C(fchdir), C(umask), C(dup), C(fcntl), C(flock), C(ioctl), C(mmap), C(munmap), C(msync), C(mremap), C(madvise), C(setxattr),
    C(lsetxattr), C(fsetxattr), C(getxattr), C(lgetxattr), C(fgetxattr), C(listxattr), C(llistxattr), C(flistxattr), C(removexattr), C(lremovexattr),
    C(fremovexattr), C(copy_file_range), C(sendfile), C(splice), C(pipe2), C(kill), C(wait4), C(socket), C(bind), C(listen), C(connect), C(getpid),
    C(fadvise64), C(name_to_handle_at), C(inotify_init1), C(inotify_add_watch), C(openat2), C(chroot), C(close_range), C(prlimit64),
#undef C
    {"fchmodat2", 452},
};

void fail_start(const char* what) {
  std::perror(what);
  std::exit(1);
}

std::string hex(const void* data, size_t bytes) {
  static const char digits[] = "0123456789abcdef";
  const auto* from = static_cast<const unsigned char*>(data);
  std::string text(bytes * 2, '0');
  for (size_t i = 0; i < bytes; i++) {
    text[2 * i] = digits[from[i] >> 4];
    text[2 * i + 1] = digits[from[i] & 15];
  }
  return text;
}

std::string unhex(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) bytes.push_back(static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

std::string unescape(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != '%') bytes.push_back(text[i]);
    else {
      bytes.push_back(static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16)));
      i += 2;
    }
  }
  return bytes;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  size_t start = 0;
  for (size_t i = 0; i <= text.size(); i++) {
    if (i < text.size() && text[i] != at) continue;
    if (i > start || at == ',') parts.push_back(text.substr(start, i - start));
    start = i + 1;
  }
  return parts;
}

std::string errno_answer(int number) {
  const char* name = strerrorname_np(number);
  return std::string("!") + (name == nullptr ? std::to_string(number) : number == EOPNOTSUPP ? "EOPNOTSUPP" : name);
}

// An argument's memory, as long as the call runs.
struct Argument {
  char kind = 'i';
  long value = 0;
  std::vector<char> bytes;
  std::vector<std::vector<char>> pieces;
  std::vector<iovec> vectors;
};

void parse(const std::string& text, Argument* argument) {
  argument->kind = text[0];
  const std::string rest = text.substr(1);
  switch (text[0]) {
    case 'i':
      argument->value = static_cast<long>(rest[0] == '-' ? std::strtoll(rest.c_str(), nullptr, 10) : static_cast<long long>(std::strtoull(rest.c_str(), nullptr, 10)));
      return;
    case 'n':
      return;
    case 'x':
      argument->value = 8;
      return;
    case 'v':
    case 'V':
      for (const std::string& piece : split(rest, ',')) {
        const std::string bytes = text[0] == 'v' ? unhex(piece) : std::string(std::stoul(piece), '\0');
        argument->pieces.emplace_back(bytes.begin(), bytes.end());
      }
      for (auto& piece : argument->pieces) argument->vectors.push_back({piece.data(), piece.size()});
      argument->value = reinterpret_cast<long>(argument->vectors.data());
      return;
    default: {
      std::string bytes;
      if (text[0] == 's') bytes = unescape(rest) + '\0';
      else if (text[0] == 'h' || text[0] == 'm') bytes = unhex(rest);
      else bytes = std::string(std::stoul(rest), '\0');
      // One byte more, so that there is an address where there is nothing.
      argument->bytes.assign(bytes.begin(), bytes.end());
      argument->bytes.push_back(0);
      argument->value = reinterpret_cast<long>(argument->bytes.data());
    }
  }
}

std::string results(const std::vector<Argument>& arguments, long result) {
  std::string text;
  for (const Argument& argument : arguments) {
    const size_t room = argument.bytes.empty() ? 0 : argument.bytes.size() - 1;
    if (argument.kind == 'o' || argument.kind == 'm') text += " " + hex(argument.bytes.data(), room);
    if (argument.kind == 'r') text += " " + hex(argument.bytes.data(), std::min(room, static_cast<size_t>(std::max(0L, result))));
    if (argument.kind == 'V') {
      std::string all;
      for (const auto& piece : argument.pieces) all.append(piece.data(), piece.size());
      text += " " + hex(all.data(), std::min(all.size(), static_cast<size_t>(std::max(0L, result))));
    }
  }
  return text;
}

std::string call(const std::vector<std::string>& words) {
  const auto found = words.size() < 2 ? kCalls.end() : kCalls.find(words[1]);
  if (found == kCalls.end()) return "!UNKNOWN";
  std::vector<Argument> arguments(words.size() - 2);
  long values[6] = {};
  for (size_t i = 0; i < arguments.size() && i < 6; i++) {
    parse(words[i + 2], &arguments[i]);
    values[i] = arguments[i].value;
  }
  errno = 0;
  const long result = syscall(found->second, values[0], values[1], values[2], values[3], values[4], values[5]);
  if (result == -1 && errno != 0) return errno_answer(errno);
  return "=" + std::to_string(result) + results(arguments, result);
}

uint64_t digest(int folder, const char* name, uint64_t bytes) {
  uint64_t sum = 1469598103934665603ULL;
  if (bytes > (1 << 20)) return 0;
  const int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
  if (fd < 0) return static_cast<uint64_t>(errno);
  char buffer[16384];
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;)
    for (ssize_t i = 0; i < got; i++) sum = (sum ^ static_cast<unsigned char>(buffer[i])) * 1099511628211ULL;
  close(fd);
  return sum;
}

void describe(int folder, const std::string& name, const std::string& path, std::vector<std::string>* lines);

void describe_below(int folder, const std::string& name, const std::string& path, std::vector<std::string>* lines) {
  const int fd = openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
  DIR* listing = fd < 0 ? nullptr : fdopendir(fd);
  if (listing == nullptr) return;
  while (const dirent* entry = readdir(listing)) {
    const std::string child = entry->d_name;
    if (child != "." && child != "..") describe(fd, child, path.empty() ? child : path + "/" + child, lines);
  }
  closedir(listing);
}

void describe(int folder, const std::string& name, const std::string& path, std::vector<std::string>* lines) {
  struct stat s;
  char text[256];
  if (fstatat(folder, name.c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0) {
    lines->push_back(path + " " + strerrorname_np(errno));
    return;
  }
  const bool isDir = S_ISDIR(s.st_mode);
  std::snprintf(text, sizeof text, " %o links %lu owner %u:%u size %lld rdev %lx m %lld.%09ld c %lld.%09ld", s.st_mode, static_cast<unsigned long>(s.st_nlink),
                s.st_uid, s.st_gid, isDir ? 0LL : static_cast<long long>(s.st_size), static_cast<unsigned long>(s.st_rdev), static_cast<long long>(s.st_mtim.tv_sec),
                s.st_mtim.tv_nsec, static_cast<long long>(s.st_ctim.tv_sec), s.st_ctim.tv_nsec);
  std::string line = (path.empty() ? "." : path) + text;
  if (S_ISLNK(s.st_mode)) {
    char target[4096];
    const ssize_t got = readlinkat(folder, name.c_str(), target, sizeof target);
    line += " -> " + hex(target, static_cast<size_t>(std::max<ssize_t>(0, got)));
  }
  if (S_ISREG(s.st_mode)) line += " content " + std::to_string(digest(folder, name.c_str(), static_cast<uint64_t>(s.st_size)));
  lines->push_back(line);
  if (isDir) describe_below(folder, name, path, lines);
}

std::string tree(const std::string& path) {
  std::vector<std::string> lines;
  describe(AT_FDCWD, path, "", &lines);
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return "=" + std::to_string(lines.size()) + " " + hex(text.data(), text.size());
}

sigjmp_buf fault;
volatile sig_atomic_t faultExpected = 0;

void on_fault(int number) {
  if (faultExpected != 0) siglongjmp(fault, number);
  _exit(3);
}

std::string memory(const std::vector<std::string>& words, bool write) {
  auto* address = reinterpret_cast<char*>(std::strtoull(words[1].c_str(), nullptr, 10));
  std::string bytes = write ? unhex(words[2]) : std::string(std::stoul(words[2]), '\0');
  faultExpected = 1;
  const int number = sigsetjmp(fault, 1);
  if (number == 0) {
    if (write) std::memcpy(address, bytes.data(), bytes.size());
    else std::memcpy(bytes.data(), address, bytes.size());
  }
  faultExpected = 0;
  if (number != 0) return number == SIGBUS ? "!SIGBUS" : "!SIGSEGV";
  return write ? "=0" : "=0 " + hex(bytes.data(), bytes.size());
}

std::string spawn(const std::vector<std::string>& words) {
  int gate[2];
  if (pipe2(gate, O_CLOEXEC) != 0) return errno_answer(errno);
  const pid_t child = fork();
  if (child == 0) {
    const int nothing = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++) dup2(nothing, fd);
    std::vector<std::string> texts;
    for (size_t i = 1; i < words.size(); i++) texts.push_back(unescape(words[i].substr(1)));
    std::vector<char*> argv;
    for (std::string& text : texts) argv.push_back(text.data());
    argv.push_back(nullptr);
    char* environment[] = {nullptr};
    execve(argv[0], argv.data(), environment);
    const int number = errno;
    (void)!write(gate[1], &number, sizeof number);
    _exit(127);
  }
  close(gate[1]);
  int number = 0;
  const ssize_t got = read(gate[0], &number, sizeof number);
  close(gate[0]);
  if (got != static_cast<ssize_t>(sizeof number)) return "=" + std::to_string(child);
  syscall(SYS_wait4, child, nullptr, 0, nullptr);
  return errno_answer(number);
}

std::string write_pattern(const std::vector<std::string>& words) {
  std::string bytes(std::stoul(words[2]), '\0');
  const unsigned seed = static_cast<unsigned>(std::stoul(words[3]));
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<char>((i * 31 + seed) & 0xff);
  const ssize_t written = write(std::stoi(words[1]), bytes.data(), bytes.size());
  return written < 0 ? errno_answer(errno) : "=" + std::to_string(written);
}

std::string answer(const std::string& line) {
  const std::vector<std::string> words = split(line, ' ');
  if (words.empty()) return "!UNKNOWN";
  if (words[0] == "call") return call(words);
  if (words[0] == "tree" && words.size() == 2) return tree(unescape(words[1]));
  if ((words[0] == "peek" || words[0] == "poke") && words.size() == 3) return memory(words, words[0] == "poke");
  if (words[0] == "spawn" && words.size() > 1) return spawn(words);
  if (words[0] == "write" && words.size() == 4) return write_pattern(words);
  return "!UNKNOWN";
}

void become(int argc, char** argv) {
  std::vector<gid_t> groups;
  if (argc > 3 && argv[3][0] != 0)
    for (const std::string& group : split(argv[3], ',')) groups.push_back(static_cast<gid_t>(std::stoul(group)));
  const auto uid = static_cast<uid_t>(std::stoul(argv[1]));
  const auto gid = static_cast<gid_t>(std::stoul(argv[2]));
  if (setgroups(groups.size(), groups.data()) != 0) fail_start("setgroups");
  if (setresgid(gid, gid, gid) != 0) fail_start("setresgid");
  if (setresuid(uid, uid, uid) != 0) fail_start("setresuid");
  prctl(PR_SET_DUMPABLE, 1);  // its /proc/self/fd belongs to it
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "pause") == 0)
    for (;;) pause();
  if (argc < 3) return 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  become(argc, argv);
  umask(0);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  signal(SIGBUS, on_fault);
  signal(SIGSEGV, on_fault);
  char* line = nullptr;
  size_t room = 0;
  for (ssize_t got; (got = getline(&line, &room, stdin)) > 0;) {
    const std::string text = answer(std::string(line, static_cast<size_t>(got - 1))) + "\n";
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }
  std::free(line);
  return 0;
}
