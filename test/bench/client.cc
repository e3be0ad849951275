// The program that the benchmark measures with: plain system calls, one loop for each workload, so that the loop costs next to nothing beside them.
//
//   client [-l SECONDS] [-p PID,PID…] [-b BYTES] WORKLOAD ARGUMENT…
//
// Prints one JSON object: operations done and asked for, seconds, processor seconds of this process with its children (clientSeconds) and of the
// processes PID (daemonSeconds; to the nanosecond, threads that ended included). A loop that runs into the limit stops and reports what it did.
// Small files have BYTES bytes, 4096 at most. Contents are pseudo-random and checked when read. Any failed call ends it with exit 1 and a message.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kKiB4 = 4096, kMiB = 1 << 20, kBaseBytes = 64 * kMiB;

double limit = 1e9;
size_t fileBytes = kKiB4;
std::vector<clockid_t> daemons;
double start, deadline, startClient, startDaemon;
long asked, bytesDone;
std::atomic<long> done{0};

[[noreturn]] void fail(const std::string &what) {
  fprintf(stderr, "%s: %s\n", what.c_str(), strerror(errno));
  _exit(1);
}

[[noreturn]] void wrong(const std::string &what) {
  fprintf(stderr, "%s\n", what.c_str());
  _exit(1);
}

double seconds(const timespec &t) { return double(t.tv_sec) + double(t.tv_nsec) / 1e9; }
double seconds(const timeval &t) { return double(t.tv_sec) + double(t.tv_usec) / 1e6; }

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return seconds(t);
}

double clientSeconds() {
  double sum = 0;
  for (int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage u;
    getrusage(who, &u);
    sum += seconds(u.ru_utime) + seconds(u.ru_stime);
  }
  return sum;
}

double daemonSeconds() {
  double sum = 0;
  for (clockid_t clock : daemons) {
    timespec t;
    if (clock_gettime(clock, &t) == 0) sum += seconds(t);
  }
  return sum;
}

/** What is measured begins here. */
void begin(long operations) {
  asked = operations;
  startClient = clientSeconds();
  startDaemon = daemonSeconds();
  start = now();
  deadline = start + limit;
}

/** … and ends here. */
void report() {
  double took = now() - start;
  printf("{\"operations\":%ld,\"asked\":%ld,\"bytes\":%ld,\"seconds\":%.9f,\"clientSeconds\":%.6f,\"daemonSeconds\":%.9f}\n", done.load(), asked,
         bytesDone, took, clientSeconds() - startClient, daemonSeconds() - startDaemon);
}

bool late() { return now() > deadline; }

std::vector<unsigned char> base;

void makeBase() {
  base.resize(kBaseBytes);
  uint64_t x = 88172645463325252ull;
  for (size_t i = 0; i < kBaseBytes; i += 8) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    memcpy(&base[i], &x, 8);
  }
}

/** Content of the MiB with this number: no two near each other are alike, at no cost. */
const unsigned char *mebibyte(long i) { return &base[size_t(i) * 61 * 16411 % (63 * kMiB)]; }

int openOrFail(const std::string &path, int flags) {
  int fd = open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd < 0) fail("open " + path);
  return fd;
}

void writeAll(int fd, const unsigned char *data, size_t bytes) {
  for (size_t at = 0; at < bytes;) {
    ssize_t n = write(fd, data + at, bytes - at);
    if (n < 0) fail("write");
    at += size_t(n);
  }
}

void syncOrFail(int fd) {
  if (fsync(fd) != 0) fail("fsync");
}

void closeOrFail(int fd) {
  if (close(fd) != 0) fail("close");
}

void bigWrite(const std::string &path, long mebibytes) {
  makeBase();
  begin(mebibytes);
  int fd = openOrFail(path, O_WRONLY | O_CREAT | O_TRUNC);
  for (long i = 0; i < mebibytes && !late(); i++, done++) writeAll(fd, mebibyte(i), kMiB);
  syncOrFail(fd);
  closeOrFail(fd);
  bytesDone = done * long(kMiB);
}

void bigRead(const std::string &path, long mebibytes, bool check) {
  makeBase();
  std::vector<unsigned char> buffer(kMiB);
  begin(mebibytes);
  int fd = openOrFail(path, O_RDONLY);
  while (!late()) {
    size_t got = 0;
    ssize_t n = 1;
    while (got < kMiB && (n = read(fd, &buffer[got], kMiB - got)) > 0) got += size_t(n);
    if (n < 0) fail("read " + path);
    if (got == 0) break;
    if (check && (memcmp(&buffer[0], mebibyte(done), kKiB4) != 0 || memcmp(&buffer[got - kKiB4], mebibyte(done) + got - kKiB4, kKiB4) != 0))
      wrong("wrong content in MiB " + std::to_string(done) + " of " + path);
    bytesDone += long(got);
    done++;
  }
  closeOrFail(fd);
  if (!late() && bytesDone != mebibytes * long(kMiB)) wrong("short file: " + std::to_string(bytesDone) + " bytes");
}

/** Small files from number `from` on: by turns in so many directories; below 0: so many in each, one directory after the other; 0: directly in the folder. */
struct Files {
  std::vector<std::string> directories, paths;
  long from;

  Files(const std::string &folder, long from, long count, long spread) : from(from) {
    auto directory = [&](long number) { return folder + "/d" + std::to_string(number); };
    long first = spread < 0 ? from / -spread : 0, behind = spread < 0 ? (from + count - 1) / -spread + 1 : spread;
    for (long d = first; d < behind; d++) directories.push_back(directory(d));
    for (long i = from; i < from + count; i++)
      paths.push_back((spread > 0 ? directory(i % spread) : spread < 0 ? directory(i / -spread) : folder) + "/f" + std::to_string(i));
  }
};

/** 4 KiB that tell which file they belong to. */
struct Block {
  unsigned char data[kKiB4];
  Block() { memcpy(data, &base[0], kKiB4); }
  void number(long n) { memcpy(data, &n, sizeof n); }
};

void createFiles(const Files &files) {
  makeBase();
  for (const auto &each : files.directories)
    if (mkdir(each.c_str(), 0755) != 0 && errno != EEXIST) fail("mkdir " + each);
  Block block;
  begin(long(files.paths.size()));
  for (size_t i = 0; i < files.paths.size() && !late(); i++, done++) {
    block.number(files.from + long(i));
    int fd = openOrFail(files.paths[i], O_WRONLY | O_CREAT | O_TRUNC);
    writeAll(fd, block.data, fileBytes);
    closeOrFail(fd);
  }
  bytesDone = done * long(fileBytes);
}

/** Again and again for so long; 0: once. */
void statFiles(const Files &files, double least) {
  begin(long(files.paths.size()));
  do {
    for (size_t i = 0; i < files.paths.size() && !late(); i++, done++) {
      struct stat s;
      if (stat(files.paths[i].c_str(), &s) != 0) fail("stat " + files.paths[i]);
      if (s.st_size != long(fileBytes)) wrong("wrong size of " + files.paths[i]);
    }
  } while (now() - start < least && !late());
  asked = std::max(asked, done.load());
}

void readFiles(const Files &files, bool check) {
  makeBase();
  Block want, got;
  begin(long(files.paths.size()));
  for (size_t i = 0; i < files.paths.size() && !late(); i++, done++) {
    int fd = openOrFail(files.paths[i], O_RDONLY);
    want.number(files.from + long(i));
    ssize_t n = read(fd, got.data, kKiB4);
    if (n < 0) fail("read " + files.paths[i]);
    if (n != ssize_t(fileBytes) || (check && memcmp(want.data, got.data, fileBytes) != 0)) wrong("wrong content of " + files.paths[i]);
    closeOrFail(fd);
  }
  bytesDone = done * long(fileBytes);
}

void unlinkFiles(const Files &files) {
  begin(long(files.paths.size()));
  for (size_t i = 0; i < files.paths.size() && !late(); i++, done++)
    if (unlink(files.paths[i].c_str()) != 0) fail("unlink " + files.paths[i]);
}

/** Create, write 4 KiB, fsync, close, by several writers at once. */
void syncedFiles(const std::string &folder, long count, long writers) {
  makeBase();
  if (mkdir(folder.c_str(), 0755) != 0) fail("mkdir " + folder);
  std::atomic<long> next{0};
  auto writer = [&] {
    Block block;
    for (long i; (i = next++) < count && !late(); done++) {
      block.number(i);
      int fd = openOrFail(folder + "/f" + std::to_string(i), O_WRONLY | O_CREAT | O_TRUNC);
      writeAll(fd, block.data, kKiB4);
      syncOrFail(fd);
      closeOrFail(fd);
    }
  };
  begin(count);
  std::vector<std::thread> threads;
  for (long t = 0; t < writers; t++) threads.emplace_back(writer);
  for (auto &each : threads) each.join();
  bytesDone = done * long(kKiB4);
}

/** The numbers of a file's blocks of 4 KiB in random order, always the same. */
std::vector<uint32_t> shuffled(long mebibytes) {
  std::vector<uint32_t> order(size_t(mebibytes) * (kMiB / kKiB4));
  std::iota(order.begin(), order.end(), 0u);
  uint64_t x = 0x9E3779B97F4A7C15ull;
  for (size_t i = order.size() - 1; i > 0; i--) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    std::swap(order[i], order[x % (i + 1)]);
  }
  return order;
}

void randomRead(const std::string &path, long mebibytes, long jobs, long each, bool check) {
  makeBase();
  auto order = shuffled(mebibytes);
  auto job = [&](long which) {
    int fd = openOrFail(path, O_RDONLY);
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    unsigned char block[kKiB4];
    for (long i = which * each; i < (which + 1) * each && !late(); i++, done++) {
      off_t at = off_t(order[size_t(i) % order.size()]) * off_t(kKiB4);
      ssize_t n = pread(fd, block, kKiB4, at);
      if (n < 0) fail("pread");
      if (n != ssize_t(kKiB4)) wrong("short read at " + std::to_string(at));
      if (check && memcmp(block, mebibyte(at / long(kMiB)) + at % long(kMiB), kKiB4) != 0) wrong("wrong content at " + std::to_string(at));
    }
    closeOrFail(fd);
  };
  begin(jobs * each);
  std::vector<std::thread> threads;
  for (long t = 0; t < jobs; t++) threads.emplace_back(job, t);
  for (auto &thread : threads) thread.join();
  bytesDone = done * long(kKiB4);
}

/** Overwrites blocks in random order, then fsync. */
void randomWrite(const std::string &path, long mebibytes, long count, double most) {
  makeBase();
  auto order = shuffled(mebibytes);
  begin(count);
  int fd = openOrFail(path, O_WRONLY);
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  for (long i = 0; i < count && !late() && now() - start < most; i++, done++)
    if (pwrite(fd, mebibyte(i) + 8, kKiB4, off_t(order[size_t(i) % order.size()]) * off_t(kKiB4)) != ssize_t(kKiB4)) fail("pwrite");
  syncOrFail(fd);
  closeOrFail(fd);
  bytesDone = done * long(kKiB4);
}

void append(const std::string &path, long count, double most) {
  makeBase();
  begin(count);
  int fd = openOrFail(path, O_WRONLY | O_CREAT | O_TRUNC);
  for (long i = 0; i < count && !late() && now() - start < most; i++, done++) {
    writeAll(fd, mebibyte(i), kKiB4);
    syncOrFail(fd);
  }
  closeOrFail(fd);
  bytesDone = done * long(kKiB4);
}

void renameFiles(const std::string &folder, long count) {
  if (mkdir(folder.c_str(), 0755) != 0) fail("mkdir " + folder);
  for (long i = 0; i < count; i++) closeOrFail(openOrFail(folder + "/a" + std::to_string(i), O_WRONLY | O_CREAT));
  begin(count);
  for (long i = 0; i < count && !late(); i++, done++)
    if (rename((folder + "/a" + std::to_string(i)).c_str(), (folder + "/b" + std::to_string(i)).c_str()) != 0) fail("rename");
}

void makeFolders(const std::string &folder, long count) {
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) fail("mkdir " + folder);
  begin(count);
  for (long i = 0; i < count && !late(); i++, done++)
    if (mkdir((folder + "/d" + std::to_string(i)).c_str(), 0755) != 0) fail("mkdir");
}

/** Names of one folder, and of the folders in it. */
void listFolder(const std::string &folder) {
  DIR *directory = opendir(folder.c_str());
  if (directory == nullptr) fail("opendir " + folder);
  std::vector<std::string> below;
  errno = 0;
  while (dirent *entry = late() ? nullptr : readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    done++;
    if (entry->d_type == DT_DIR) below.push_back(folder + "/" + entry->d_name);
  }
  if (errno != 0) fail("readdir " + folder);
  closedir(directory);
  for (const auto &each : below) listFolder(each);
}

void runProgram(char **command) {
  begin(1);
  pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid == 0) {
    int null = open("/dev/null", O_WRONLY);
    dup2(null, 1);
    execvp(command[0], command);
    fail(command[0]);
  }
  int status;
  if (waitpid(pid, &status, 0) < 0) fail("waitpid");
  if (status != 0) wrong(std::string(command[0]) + " ended with status " + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status)));
  done = 1;
}

/** A workload's arguments, one after the other. */
struct Arguments {
  char **next;
  std::string text() {
    if (*next == nullptr) wrong("an argument is missing");
    return *next++;
  }
  long number() { return atol(text().c_str()); }
};

void run(Arguments a) {
  std::string workload = a.text();
  if (workload == "run") return *a.next == nullptr ? wrong("what?") : runProgram(a.next);
  std::string path = a.text();
  auto files = [&] {
    long from = a.number(), count = a.number(), spread = a.number();
    return Files(path, from, count, spread);
  };
  if (workload == "write") {
    bigWrite(path, a.number());
  } else if (workload == "read") {
    long mebibytes = a.number();
    bigRead(path, mebibytes, a.number() != 0);
  } else if (workload == "create") {
    createFiles(files());
  } else if (workload == "stat") {
    Files all = files();
    statFiles(all, double(a.number()));
  } else if (workload == "read-files") {
    Files all = files();
    readFiles(all, a.number() != 0);
  } else if (workload == "unlink") {
    unlinkFiles(files());
  } else if (workload == "synced") {
    long count = a.number();
    syncedFiles(path, count, a.number());
  } else if (workload == "random-read") {
    long mebibytes = a.number(), jobs = a.number(), each = a.number();
    randomRead(path, mebibytes, jobs, each, a.number() != 0);
  } else if (workload == "random-write") {
    long mebibytes = a.number(), count = a.number();
    randomWrite(path, mebibytes, count, double(a.number()));
  } else if (workload == "append") {
    long count = a.number();
    append(path, count, double(a.number()));
  } else if (workload == "rename") {
    renameFiles(path, a.number());
  } else if (workload == "mkdir") {
    makeFolders(path, a.number());
  } else if (workload == "list") {
    begin(a.number());
    listFolder(path);
    if (!late() && done != asked) wrong("listed " + std::to_string(done) + " names of " + std::to_string(asked));
  } else {
    wrong("no such workload: " + workload);
  }
}

}  // namespace

int main(int, char **argv) {
  Arguments a{argv + 1};
  while (*a.next != nullptr && (*a.next)[0] == '-') {
    std::string option = a.text(), value = a.text();
    if (option == "-l") limit = atof(value.c_str());
    if (option == "-b") fileBytes = std::min(kKiB4, size_t(atol(value.c_str())));
    char *at = &value[0];
    while (option == "-p" && *at != '\0') {
      clockid_t clock;
      if (clock_getcpuclockid(pid_t(strtol(at, &at, 10)), &clock) == 0) daemons.push_back(clock);
      if (*at != '\0') at++;
    }
  }
  run(a);
  report();
  return 0;
}
