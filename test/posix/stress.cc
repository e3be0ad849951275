// Random operations on names, attributes and content in one tree, of the kind of fsstress: one seed makes one history of calls. Several of these may share a
// tree; one alone gives the same results on every file system that does what ext4 does.
//
//   stress DIRECTORY SEED COUNT FLAGS      COUNT 0: until SIGTERM. FLAGS: l a line for each operation with its result · h keeps descriptors open · - neither
//
// Run as root: each operation is made as root or as one of two users. Ends with 3 at an errno that no local file system gives, with 4 when the file system is
// gone (the daemon was killed), and says so.
#include <algorithm>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace {

using std::string;

constexpr int kHandles = 6;
constexpr int kDepthMax = 2;
constexpr gid_t kSharedGroup = 3000;
constexpr uid_t kUsers[] = {0, 1001, 1002, 0, 0};

struct Dice {
  uint64_t state;
  uint64_t next() {
    state += 0x9e3779b97f4a7c15ULL;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  long below(long limit) { return static_cast<long>(next() % static_cast<uint64_t>(limit)); }
  bool one_in(long n) { return below(n) == 0; }
} dice;

volatile sig_atomic_t stopping = 0;
bool keepHandles = false;
int handles[kHandles];
std::vector<char> bytes(2 << 20);
string about;  // the operation's arguments, for the log

uint64_t digest(const void* data, size_t length, uint64_t sum = 1469598103934665603ULL) {
  const auto* at = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < length; i++) sum = (sum ^ at[i]) * 1099511628211ULL;
  return sum;
}

string result(long value) { return value >= 0 ? std::to_string(value) : strerrorname_np(errno); }

string note(const string& text) {
  about += " " + text;
  return text;
}

long number(long value) {
  note(std::to_string(value));
  return value;
}

// ---- Names: few enough that processes and operations meet. ----

string component(bool directory) {
  if (dice.one_in(20)) return "l" + std::to_string(dice.below(3));
  return (directory ? "d" : "f") + std::to_string(dice.below(directory ? 4 : 6));
}

string path_of(string last) {
  string path;
  for (long depth = dice.below(kDepthMax + 1); depth > 0; depth--) path += component(true) + "/";
  return note(path + last);
}

string file() { return path_of(component(false)); }
string directory() { return path_of(component(true)); }
string link_name() { return path_of("l" + std::to_string(dice.below(3))); }
string any() { return dice.one_in(3) ? directory() : dice.one_in(8) ? link_name() : file(); }

// ---- Sizes: around those at which content is kept in another way. ----

long size() {
  const long kind = dice.below(20);
  return number(kind < 6 ? dice.below(200) : kind < 12 ? dice.below(9000) : kind < 19 ? dice.below(100000) : dice.below(1500000));
}

long offset() { return number(dice.one_in(20) ? dice.below(20000000) : dice.one_in(3) ? 0 : dice.below(300000)); }

void fill(long length) {
  const bool zeros = dice.one_in(10);
  for (long i = 0; i < length; i += 8) {
    const uint64_t value = zeros ? 0 : dice.next();
    std::memcpy(bytes.data() + i, &value, 8);
  }
}

mode_t mode() {
  static const mode_t modes[] = {0777, 0755, 0700, 0666, 0644, 0600, 01777, 02775, 04755, 02711, 0000};
  const mode_t chosen = modes[dice.below(std::size(modes))];
  number(chosen);
  return chosen;
}

int open_any(const string& path, int flags) { return open(path.c_str(), flags | O_NONBLOCK | O_CLOEXEC, 0666); }

// Opens, does, closes; the result is the operation's, and what close says if that is not 0.
template <typename Operation>
string with_file(const string& path, int flags, Operation operation) {
  const int fd = open_any(path, flags);
  if (fd < 0) return "open " + result(-1);
  const string said = operation(fd);
  return close(fd) == 0 ? said : said + " close " + result(-1);
}

// ---- Operations on an open file ----

string do_write(int fd) {
  const long at = offset();
  const long length = size();
  fill(length);
  return result(pwrite(fd, bytes.data(), static_cast<size_t>(length), at));
}

string do_read(int fd) {
  const long at = offset();
  const long got = pread(fd, bytes.data(), bytes.size(), at);
  return got < 0 ? result(got) : result(got) + " " + std::to_string(digest(bytes.data(), static_cast<size_t>(got)));
}

string do_allocate(int fd) {
  static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE,
                              FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE};
  const int how = modes[dice.below(std::size(modes))];
  number(how);
  const long at = offset();
  return result(fallocate(fd, how, at, 1 + size()));
}

sigjmp_buf fault;

string do_map(int fd) {
  struct stat s;
  const long page = 4096 * number(dice.below(20));
  const long length = 1 + size();
  fill(length);
  if (fstat(fd, &s) != 0) return result(-1);
  const long room = S_ISREG(s.st_mode) ? s.st_size - page : 0;
  if (room <= 0) return "nothing";
  const auto mapped = static_cast<size_t>(std::min(length, room));
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page);
  if (memory == MAP_FAILED) return result(-1);
  string said = "SIGBUS";  // somebody else cut the file
  if (sigsetjmp(fault, 1) == 0) {
    said = std::to_string(digest(memory, mapped));
    std::memcpy(memory, bytes.data(), mapped);
  }
  if (dice.one_in(2) && msync(memory, mapped, MS_SYNC) != 0) said += " msync " + result(-1);
  munmap(memory, mapped);
  return said;
}

string do_copy(int fd) {
  const string to = file();
  const long from = offset();
  const long at = offset();
  const long length = size();
  return with_file(to, O_RDWR | O_CREAT, [&](int target) {
    long done = 0;
    while (done < length) {
      loff_t in = from + done;
      loff_t out = at + done;
      const long got = copy_file_range(fd, &in, target, &out, static_cast<size_t>(length - done), 0);
      if (got < 0) return result(got);
      if (got == 0) break;
      done += got;
    }
    return result(done);
  });
}

string do_stat(int fd) {
  struct stat s;
  if (fstat(fd, &s) != 0) return result(-1);
  return std::to_string(s.st_mode) + " " + std::to_string(s.st_nlink) + " " + std::to_string(s.st_uid) + " " + std::to_string(s.st_gid) +
         (S_ISDIR(s.st_mode) ? "" : " " + std::to_string(s.st_size));
}

string do_sync(int fd) { return result(dice.one_in(2) ? fsync(fd) : fdatasync(fd)); }
string do_truncate(int fd) { return result(ftruncate(fd, offset())); }

string do_append(int fd) {
  const long length = size();
  fill(length);
  struct stat s;
  if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return "nothing";  // how much goes into a pipe is the pipe's affair
  return result(write(fd, bytes.data(), static_cast<size_t>(length)));
}

// ---- Operations on names ----

string op_create() {
  const string path = file();
  const int flags = O_RDWR | O_CREAT | (dice.one_in(3) ? O_EXCL : 0) | (dice.one_in(3) ? O_TRUNC : 0) | (dice.one_in(6) ? O_NOFOLLOW : 0);
  number(flags);
  return with_file(path, flags, do_write);
}
string op_write() { return with_file(file(), O_WRONLY, do_write); }
string op_append() { return with_file(file(), O_WRONLY | O_APPEND | O_CREAT, do_append); }
string op_read() { return with_file(file(), O_RDONLY, do_read); }
string op_map() { return with_file(file(), O_RDWR, do_map); }
string op_allocate() { return with_file(file(), O_RDWR, do_allocate); }
string op_copy() { return with_file(file(), O_RDWR, do_copy); }
string op_sync() { return with_file(any(), O_RDONLY, do_sync); }
string op_open_truncate() { return with_file(file(), O_WRONLY | O_TRUNC, do_stat); }

string op_truncate() {
  const string path = file();
  return result(truncate(path.c_str(), offset()));
}

string op_mkdir() {
  const string path = directory();
  return result(mkdir(path.c_str(), mode() | 0700));
}

string op_fifo() {
  const string path = file();
  return result(mknod(path.c_str(), S_IFIFO | mode(), 0));
}

string op_symlink() {
  const string target = any();
  return result(symlink(target.c_str(), link_name().c_str()));
}

string op_link() {
  const string from = any();
  const string to = file();
  return result(linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), dice.one_in(3) ? AT_SYMLINK_FOLLOW : 0));
}

string op_rename() {
  const string from = any();
  const string to = any();
  const long kind = number(dice.below(5));
  const unsigned flags = kind == 3 ? RENAME_NOREPLACE : kind == 4 ? RENAME_EXCHANGE : 0;
  return result(renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
}

string op_unlink() { return result(unlink((dice.one_in(6) ? any() : file()).c_str())); }
string op_rmdir() { return result(rmdir((dice.one_in(6) ? any() : directory()).c_str())); }

string op_unnamed() {
  const string from = directory();
  const string to = file();
  return with_file(from, O_RDWR | O_TMPFILE, [&](int fd) {
    const string wrote = do_write(fd);
    const string self = "/proc/self/fd/" + std::to_string(fd);
    return wrote + " " + result(linkat(AT_FDCWD, self.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW));
  });
}

// ---- Attributes ----

string op_chmod() {
  const string path = any();
  return result(chmod(path.c_str(), mode()));
}

string op_chown() {
  const string path = any();
  const uid_t uid = dice.one_in(3) ? static_cast<uid_t>(-1) : kUsers[number(dice.below(3))];
  const gid_t gid = dice.one_in(3) ? kSharedGroup : kUsers[number(dice.below(3))];
  return result(lchown(path.c_str(), uid, gid));
}

string op_times() {
  const string path = any();
  const timespec times[2] = {{number(dice.below(4000000000) - 1000000000), number(dice.below(1000000000))},
                             {number(dice.below(4000000000) - 1000000000), dice.one_in(4) ? UTIME_NOW : number(dice.below(1000000000))}};
  return result(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW));
}

string attribute() { return note((dice.one_in(10) ? "trusted.a" : "user.a") + std::to_string(dice.below(3))); }

string op_set_attribute() {
  const string path = any();
  const string name = attribute();
  const auto length = static_cast<size_t>(number(dice.one_in(8) ? dice.below(3000) : dice.below(60)));
  fill(3000);
  return result(lsetxattr(path.c_str(), name.c_str(), bytes.data(), length, static_cast<int>(number(dice.below(3)))));
}

string op_remove_attribute() {
  const string path = any();
  return result(lremovexattr(path.c_str(), attribute().c_str()));
}

string op_attributes() {
  char list[4096];
  const string path = any();
  const long got = llistxattr(path.c_str(), list, sizeof list);
  if (got < 0) return result(got);
  std::vector<string> names;
  for (const char* at = list; at < list + got; at += std::strlen(at) + 1) names.emplace_back(at);
  std::sort(names.begin(), names.end());
  string all;
  for (const string& name : names) {
    const long length = lgetxattr(path.c_str(), name.c_str(), bytes.data(), 4096);
    all += name + "=" + (length < 0 ? result(length) : std::to_string(digest(bytes.data(), static_cast<size_t>(length)))) + " ";
  }
  return all;
}

// An ACL as the kernel takes it: version 2, then tag, permissions and id of each entry.
string op_acl() {
  const string path = any();
  const bool inherited = number(dice.below(3)) == 0;
  struct Entry {
    uint16_t tag, permissions;
    uint32_t id;
  };
  const auto permissions = [] { return static_cast<uint16_t>(number(dice.below(8))); };
  const uint32_t none = 0xffffffff;
  const Entry entries[] = {{1, permissions(), none},  {2, permissions(), 1001}, {4, permissions(), none},
                           {8, permissions(), kSharedGroup}, {16, permissions(), none}, {32, permissions(), none}};
  char value[4 + sizeof entries] = {2, 0, 0, 0};
  std::memcpy(value + 4, entries, sizeof entries);
  return result(setxattr(path.c_str(), inherited ? "system.posix_acl_default" : "system.posix_acl_access", value, sizeof value, 0));
}

string op_stat() {
  const string path = any();
  const int fd = open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return result(-1);
  const string said = do_stat(fd);
  close(fd);
  return said;
}

string op_list() {
  DIR* listing = opendir(directory().c_str());
  if (listing == nullptr) return result(-1);
  std::vector<string> names;
  errno = 0;
  while (const dirent* entry = readdir(listing)) names.push_back(entry->d_name + string(":") + std::to_string(entry->d_type));
  const string said = errno == 0 ? "" : result(-1);
  closedir(listing);
  std::sort(names.begin(), names.end());
  string all;
  for (const string& name : names) all += name + " ";
  return said + all;
}

// ---- Descriptors that stay open, whatever becomes of the name ----

string op_hold() {
  const long slot = number(dice.below(kHandles));
  const string path = file();
  const int flags = O_RDWR | (dice.one_in(3) ? O_CREAT : 0) | (dice.one_in(4) ? O_APPEND : 0);
  if (!keepHandles) return "nothing";
  if (handles[slot] >= 0) close(handles[slot]);
  handles[slot] = open_any(path, flags);
  return handles[slot] < 0 ? result(-1) : "held";
}

string op_held() {
  const int fd = handles[number(dice.below(kHandles))];
  using Operation = string (*)(int);
  static const Operation operations[] = {do_write, do_write, do_read, do_read, do_truncate, do_allocate, do_map, do_copy, do_stat, do_sync};
  return operations[number(dice.below(std::size(operations)))](fd);
}

string op_held_link() {
  const int fd = handles[number(dice.below(kHandles))];
  const string to = file();
  const string self = "/proc/self/fd/" + std::to_string(fd);
  // A FUSE kernel goes on with set-id bits that a write has taken away until somebody asks, and protects such files from hard links.
  struct stat asked;
  if (fd >= 0) fstat(fd, &asked);
  return fd < 0 ? "nothing" : result(linkat(AT_FDCWD, self.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW));
}

struct Operation {
  const char* name;
  int weight;
  string (*run)();
};

const Operation kOperations[] = {
    {"create", 12, op_create}, {"write", 8, op_write}, {"append", 5, op_append}, {"read", 6, op_read}, {"mmap", 4, op_map},
    {"fallocate", 5, op_allocate}, {"copy_file_range", 4, op_copy}, {"sync", 2, op_sync}, {"O_TRUNC", 2, op_open_truncate},
    {"truncate", 4, op_truncate}, {"mkdir", 8, op_mkdir}, {"mkfifo", 1, op_fifo}, {"symlink", 3, op_symlink}, {"link", 5, op_link},
    {"rename", 10, op_rename}, {"unlink", 6, op_unlink}, {"rmdir", 3, op_rmdir}, {"O_TMPFILE", 3, op_unnamed}, {"chmod", 4, op_chmod},
    {"chown", 4, op_chown}, {"utimensat", 4, op_times}, {"setxattr", 5, op_set_attribute}, {"removexattr", 2, op_remove_attribute},
    {"getxattr", 3, op_attributes}, {"acl", 2, op_acl}, {"stat", 5, op_stat}, {"readdir", 3, op_list}, {"hold", 4, op_hold},
    {"held", 10, op_held}, {"held link", 1, op_held_link},
};

const Operation& choose() {
  int total = 0;
  for (const Operation& operation : kOperations) total += operation.weight;
  long at = dice.below(total);
  for (const Operation& operation : kOperations)
    if ((at -= operation.weight) < 0) return operation;
  return kOperations[0];
}

bool says(const string& text, std::initializer_list<const char*> errnos) {
  for (const char* name : errnos) {
    const size_t at = text.find(name);
    if (at != string::npos && text.find('=') == string::npos && text.find(':') == string::npos) return true;
  }
  return false;
}

void become(uid_t uid) {
  if (seteuid(0) != 0 || setegid(uid) != 0 || seteuid(uid) != 0) std::exit(2);
}

int step(long count, bool log) {
  const Operation& operation = choose();
  const uid_t uid = kUsers[dice.below(std::size(kUsers))];
  about.clear();
  become(uid);
  const string said = operation.run();
  become(0);
  if (log) {
    std::printf("%ld %u %s%s = %s\n", count, uid, operation.name, about.c_str(), said.c_str());
    std::fflush(stdout);
  }
  const bool gone = says(said, {"ENOTCONN", "ECONNABORTED"});
  if (!gone && !says(said, {"EIO", "ENOSYS", "EPROTO", "ESTALE", "EREMOTEIO", "EUCLEAN", "EFAULT", "EINTR", "ENOMEM", "ENOSPC", "EFBIG"})) return 0;
  std::fprintf(stderr, "%ld %u %s%s = %s\n", count, uid, operation.name, about.c_str(), said.c_str());
  return gone ? 4 : 3;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dice.state = std::strtoull(argv[2], nullptr, 10);
  const long limit = std::atol(argv[3]);
  const bool log = std::strchr(argv[4], 'l') != nullptr;
  keepHandles = std::strchr(argv[4], 'h') != nullptr;
  std::fill(handles, handles + kHandles, -1);
  signal(SIGTERM, [](int) { stopping = 1; });
  signal(SIGBUS, [](int) { siglongjmp(fault, 1); });
  signal(SIGPIPE, SIG_IGN);
  if (chdir(argv[1]) != 0 || setgroups(1, &kSharedGroup) != 0) return 2;
  umask(022);
  long count = 0;
  int code = 0;
  while (code == 0 && stopping == 0 && (limit == 0 || count < limit)) code = step(count++, log);
  if (!log) std::printf("%ld\n", count);
  return code;
}
