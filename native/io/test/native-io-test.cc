// Tests of the plain C++ behind the module, made to be run under sanitizers (run.sh): bounds, lifetimes and races rather than results, which the
// TypeScript tests look at. The one argument is an empty directory.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>

#include "calls.h"
#include "scan.h"
#include "shared-memory.h"
#include "stripe.h"

using namespace ostraka;

#define REQUIRE(condition)                                                        \
  do {                                                                            \
    if (!(condition)) {                                                           \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                               \
    }                                                                             \
  } while (0)

static std::string root;
static std::mt19937 randomness(1);

static size_t below(size_t limit) { return randomness() % limit; }

// Exactly as large as it says, so that a byte too far is found.
struct Exact {
  explicit Exact(size_t count) : bytes(new uint8_t[count > 0 ? count : 1]), count(count) {}
  std::unique_ptr<uint8_t[]> bytes;
  size_t count;
  void fill() {
    for (size_t i = 0; i < count; i++) bytes[i] = static_cast<uint8_t>(randomness());
  }
};

// Plays the environment: starts jobs, waits until they are delivered.
class Submitter {
 public:
  Submitter()
      : core(std::make_shared<Core>([this] {
          std::lock_guard<std::mutex> lock(mutex_);
          woken_ = true;
          changed_.notify_all();
        })),
        codec(std::make_shared<Queue>(core, 2)) {}
  ~Submitter() {
    codec->close();
    core->close();
    REQUIRE(core->waitForThreads(10000));
  }

  uint64_t nextId() { return next_++; }

  // Waits until the job is delivered, or, with `vacated`, until no thread is left in it.
  void wait(uint64_t id, bool vacated = false) {
    while (!(vacated ? vacated_ : done_)[id]) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return woken_; });
        woken_ = false;
      }
      const Core::Batch batch = core->take();
      for (const auto& job : batch.completed) {
        REQUIRE(!done_[job->id]);
        done_[job->id] = true;
      }
      for (const uint64_t left : batch.vacated) vacated_[left] = true;
    }
  }

  template <typename T>
  void run(const std::shared_ptr<T>& job) {
    job->id = nextId();
    job->start();
    wait(job->id);
  }

  int64_t call(Queue& queue, std::function<int64_t()> work) {
    auto job = std::make_shared<Call>(core);
    job->id = nextId();
    job->start(queue, [work](Outcome& outcome) { outcome.number = work(); });
    wait(job->id);
    return job->outcome.number;
  }

  const std::shared_ptr<Core> core;
  const std::shared_ptr<Queue> codec;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  uint64_t next_ = 1;
  std::map<uint64_t, bool> done_, vacated_;
};

struct Pool {
  Pool(Submitter& submitter, int count, const std::string& name) {
    for (int i = 0; i < count; i++) {
      const std::string path = root + "/" + name + std::to_string(i);
      REQUIRE(mkdir(path.c_str(), 0700) == 0);
      auto disk = std::make_shared<Disk>(submitter.core);
      std::string identity;
      REQUIRE(submitter.call(*disk->transfers, [&] { return disk->open(path, &identity); }) == 0);
      const int64_t fd = submitter.call(*disk->transfers, [&] { return disk->openFile("segment", true, true); });
      REQUIRE(fd >= 0);
      files.push_back(std::make_shared<File>(disk, static_cast<int>(fd)));
      disks.push_back(disk);
    }
  }
  std::vector<Record> records(const std::vector<int>& shards, int64_t offset) const {
    std::vector<Record> result;
    for (int shard : shards) {
      Record record{shard, files[static_cast<size_t>(shard)], offset, static_cast<uint32_t>(shard * 77 + 1), {}};
      record.prefix.fill(static_cast<uint8_t>(shard + 1));
      result.push_back(record);
    }
    return result;
  }
  std::vector<std::shared_ptr<Disk>> disks;
  std::vector<std::shared_ptr<File>> files;
};

static std::vector<int> range(int count) {
  std::vector<int> result;
  for (int i = 0; i < count; i++) result.push_back(i);
  return result;
}

static void codes() {
  for (const auto& [k, m] : {std::pair{1, 0}, {1, 1}, {4, 2}, {8, 4}, {16, 16}, {32, 0}, {1, 31}}) {
    for (const size_t bytes : {size_t{1}, size_t{33}, size_t{4096}}) {
      std::vector<Exact> shards;
      const uint8_t* sources[kShardsMax] = {};
      uint8_t* targets[kShardsMax] = {};
      for (int i = 0; i < k + m; i++) {
        shards.emplace_back(bytes);
        shards.back().fill();
        if (i < k) sources[i] = shards.back().bytes.get();
        else targets[i] = shards.back().bytes.get();
      }
      REQUIRE(Code::get(k, m).rebuild(bytes, sources, targets));
      if (m == 0) continue;
      Exact first(bytes);
      for (int i = 0; i < k + m; i++) sources[i] = i == 0 ? nullptr : shards[static_cast<size_t>(i)].bytes.get(), targets[i] = nullptr;
      targets[0] = first.bytes.get();
      REQUIRE(Code::get(k, m).rebuild(bytes, sources, targets));
      REQUIRE(std::memcmp(first.bytes.get(), shards[0].bytes.get(), bytes) == 0);
    }
  }
}

static void stripes() {
  Submitter submitter;
  Pool pool(submitter, 6, "stripe");
  int64_t offset = 0;
  for (const size_t shardBytes : {kShardAlignBytes, kFrameBytes, 3 * kFrameBytes + 4096, size_t{1} << 20}) {
    const Shape shape{4, 2, shardBytes};
    Exact data(4 * shardBytes - below(shardBytes));
    data.fill();
    auto store = std::make_shared<StoreJob>(submitter.core, submitter.codec, shape, pool.records(range(6), offset), data.bytes.get(), data.count);
    submitter.run(store);
    for (int32_t status : store->statuses) REQUIRE(status == 0);
    for (int round = 0; round < 20; round++) {
      std::vector<int> shards;
      const size_t lost = below(6), alsoLost = below(6);
      for (size_t i = 0; i < 6; i++)
        if (i != lost && i != alsoLost) shards.push_back(static_cast<int>(i));
      const size_t from = below(data.count);
      Exact out(below(data.count - from) + 1);
      auto fetch = std::make_shared<FetchJob>(submitter.core, submitter.codec, shape, pool.records(shards, offset), from, out.bytes.get(), out.count);
      submitter.run(fetch);
      for (int32_t status : fetch->statuses) REQUIRE(status == 0);
      REQUIRE(std::memcmp(out.bytes.get(), data.bytes.get() + from, out.count) == 0);
    }
    // Noise instead of a record, and a byte of noise in a frame: refused, never followed.
    Exact noise(kHeaderBytes + shardBytes);
    noise.fill();
    std::memset(noise.bytes.get(), 1, kPrefixBytes);
    REQUIRE(pwrite(pool.files[0]->fd, noise.bytes.get(), noise.count, offset) == static_cast<ssize_t>(noise.count));
    const int64_t at = offset + static_cast<int64_t>(kHeaderBytes + below(shardBytes));
    uint8_t byte;
    REQUIRE(pread(pool.files[1]->fd, &byte, 1, at) == 1);
    byte ^= 1;
    REQUIRE(pwrite(pool.files[1]->fd, &byte, 1, at) == 1);
    Exact out(data.count);
    auto fetch = std::make_shared<FetchJob>(submitter.core, submitter.codec, shape, pool.records(range(6), offset), 0, out.bytes.get(), out.count);
    submitter.run(fetch);
    REQUIRE(fetch->statuses[0] == EBADMSG && fetch->statuses[1] == EBADMSG && fetch->statuses.back() == 0);
    REQUIRE(std::memcmp(out.bytes.get(), data.bytes.get(), data.count) == 0);
    auto few = std::make_shared<FetchJob>(submitter.core, submitter.codec, shape, pool.records({0, 1, 2, 3, 4}, offset), 0, out.bytes.get(), out.count);
    submitter.run(few);
    REQUIRE(few->statuses.back() == EIO);
    auto verify = std::make_shared<VerifyJob>(submitter.core, shape, pool.records(range(6), offset));
    submitter.run(verify);
    REQUIRE(verify->statuses[0] == EBADMSG && verify->statuses[5] == 0);
    offset += static_cast<int64_t>(kHeaderBytes + shardBytes);
  }
}

// Records made of others, copies, sources that are bad, targets that cannot be written.
static void remakes() {
  Submitter submitter;
  Pool pool(submitter, 6, "remake");
  int64_t offset = 0;
  for (const size_t shardBytes : {kShardAlignBytes, kFrameBytes, 3 * kFrameBytes + 4096, (size_t{1} << 20) + kFrameBytes}) {
    const Shape shape{4, 2, shardBytes};
    const auto recordBytes = static_cast<int64_t>(kHeaderBytes + shardBytes);
    Exact data(4 * shardBytes - below(shardBytes));
    data.fill();
    submitter.run(std::make_shared<StoreJob>(submitter.core, submitter.codec, shape, pool.records(range(6), offset), data.bytes.get(), data.count));
    const auto remake = [&](const Shape& of, std::vector<Record> sources, std::vector<Record> targets) {
      auto job = std::make_shared<RemakeJob>(submitter.core, submitter.codec, of, std::move(sources), std::move(targets));
      submitter.run(job);
      return job->statuses;
    };
    const auto same = [&](int shard, int64_t one, int64_t other) {
      Exact a(static_cast<size_t>(recordBytes)), b(static_cast<size_t>(recordBytes));
      const int fd = pool.files[static_cast<size_t>(shard)]->fd;
      REQUIRE(pread(fd, a.bytes.get(), a.count, one) == recordBytes && pread(fd, b.bytes.get(), b.count, other) == recordBytes);
      return std::memcmp(a.bytes.get(), b.bytes.get(), a.count) == 0;
    };
    const int64_t elsewhere = offset + recordBytes;
    for (const std::vector<int>& lost : {std::vector<int>{0}, {5}, {1, 4}, {2, 3}}) {
      std::vector<int> rest;
      for (int shard : range(6))
        if (std::count(lost.begin(), lost.end(), shard) == 0) rest.push_back(shard);
      for (const int32_t status : remake(shape, pool.records(rest, offset), pool.records(lost, elsewhere))) REQUIRE(status == 0);
      for (int shard : lost) REQUIRE(same(shard, offset, elsewhere));
    }
    // A source that is bad is gone around, one more is one too many; nothing is written then.
    uint8_t byte;
    const int64_t at = offset + static_cast<int64_t>(kHeaderBytes + below(shardBytes));
    REQUIRE(pread(pool.files[1]->fd, &byte, 1, at) == 1);
    byte ^= 1;
    REQUIRE(pwrite(pool.files[1]->fd, &byte, 1, at) == 1);
    auto statuses = remake(shape, pool.records({1, 2, 3, 4, 5}, offset), pool.records({0}, elsewhere));
    REQUIRE(statuses[0] == EBADMSG && statuses[5] == 0 && statuses[6] == 0 && same(0, offset, elsewhere));
    statuses = remake(shape, pool.records({1, 2, 3, 4}, offset), pool.records({0}, elsewhere + recordBytes));
    REQUIRE(statuses[0] == EBADMSG && statuses[5] == EIO);
    REQUIRE(lseek(pool.files[0]->fd, 0, SEEK_END) <= elsewhere + recordBytes);
    // A copy, and one to a file that cannot be written.
    std::vector<Record> source = pool.records({5}, offset), target = pool.records({5}, elsewhere + recordBytes);
    source[0].shard = target[0].shard = 0;
    const Shape alone{1, 0, shardBytes};
    for (const int32_t status : remake(alone, source, target)) REQUIRE(status == 0);
    REQUIRE(same(5, offset, elsewhere + recordBytes));
    const std::string path = root + "/remake-read-only" + std::to_string(shardBytes);
    const int fd = open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    target[0].file = std::make_shared<File>(pool.disks[5], fd);
    statuses = remake(alone, source, target);
    REQUIRE(statuses[0] == 0 && statuses[1] == EBADF && statuses[2] == 0);
    offset = elsewhere + 2 * recordBytes;
  }
}

// Stretches of records and zeros; noise, damage and records that are cut off end them.
static void scans() {
  const std::string path = root + "/scan";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(fd >= 0);
  uint8_t identity[kIdentityBytes];
  for (uint8_t& byte : identity) byte = static_cast<uint8_t>(randomness());
  int64_t end = 4096;
  std::vector<int64_t> places;
  std::vector<size_t> sizes;
  for (const size_t shardBytes : {size_t{4096}, kFrameBytes, kFrameBytes + 4096, 5 * kFrameBytes, size_t{4096}}) {
    Exact shard(shardBytes), header(kHeaderBytes);
    shard.fill();
    uint8_t prefix[kPrefixBytes] = {};
    std::memcpy(prefix, kRecordMagic, kRecordMagicBytes);
    std::memcpy(prefix + kPrefixIdentityAt, identity, kIdentityBytes);
    putU32(prefix + kPrefixOffsetAt, static_cast<uint32_t>(end));
    putU32(prefix + kPrefixShardBytesAt, static_cast<uint32_t>(shardBytes));
    putU32(prefix + kPrefixSeedAt, 99);
    fillHeader(header.bytes.get(), prefix, {shard.bytes.get(), shardBytes}, shardBytes, 99);
    REQUIRE(pwrite(fd, header.bytes.get(), kHeaderBytes, end) == static_cast<ssize_t>(kHeaderBytes));
    REQUIRE(pwrite(fd, shard.bytes.get(), shardBytes, end + static_cast<int64_t>(kHeaderBytes)) == static_cast<ssize_t>(shardBytes));
    places.push_back(end);
    sizes.push_back(shardBytes);
    end += static_cast<int64_t>(kHeaderBytes + shardBytes + 4096 * below(3));
  }
  const auto scan = [&](int64_t from, size_t bytes) {
    std::vector<uint8_t> prefixes;
    const int64_t walked = scanStretch(fd, from, bytes, identity, &prefixes);
    REQUIRE(walked >= 0 && walked <= static_cast<int64_t>(bytes) && prefixes.size() % kPrefixBytes == 0);
    return std::pair<int64_t, size_t>{walked, prefixes.size() / kPrefixBytes};
  };
  REQUIRE(scan(4096, 1 << 20).second == 5);
  // Cut anywhere, it ends before what is not whole.
  for (int round = 0; round < 50; round++) {
    const size_t bytes = kHeaderBytes + below(static_cast<size_t>(end) - 4096);
    size_t whole = 0;
    for (size_t i = 0; i < places.size(); i++)
      if (places[i] + static_cast<int64_t>(kHeaderBytes + sizes[i]) <= 4096 + static_cast<int64_t>(bytes)) whole++;
    REQUIRE(scan(4096, bytes).second == whole);
  }
  // A flipped bit anywhere in the third one ends it there.
  for (int round = 0; round < 50; round++) {
    const int64_t at = places[2] + static_cast<int64_t>(below(kHeaderBytes + sizes[2]));
    uint8_t byte;
    REQUIRE(pread(fd, &byte, 1, at) == 1);
    const uint8_t flipped = byte ^ static_cast<uint8_t>(1 << below(8));
    REQUIRE(pwrite(fd, &flipped, 1, at) == 1);
    REQUIRE(scan(4096, 1 << 20) == (std::pair<int64_t, size_t>{places[2] - 4096, 2}));
    REQUIRE(pwrite(fd, &byte, 1, at) == 1);
  }
  // Of another segment, or in another place: none of ours.
  identity[0] ^= 1;
  REQUIRE(scan(4096, 1 << 20).second == 0);
  close(fd);
}

// A task that hangs: given up from outside, it must find everything it touches alive when it comes back, and nobody must hear of it.
static void hanging() {
  Submitter submitter;
  int pipes[2];
  REQUIRE(pipe(pipes) == 0);
  uint64_t left;
  {
    Pool pool(submitter, 3, "hang");
    const std::shared_ptr<Queue> queue = pool.disks[0]->transfers;
    const Shape shape{2, 1, kFrameBytes};
    Exact data(2 * kFrameBytes);
    data.fill();
    auto hung = std::make_shared<Call>(submitter.core);
    left = hung->id = submitter.nextId();
    hung->start(*queue, [end = pipes[0], file = pool.files[0]](Outcome& outcome) {
      char byte;
      outcome.number = read(end, &byte, 1);
      outcome.text.assign(1000, 'x');
      REQUIRE(file->fd >= 0);
    });
    auto store = std::make_shared<StoreJob>(submitter.core, submitter.codec, shape, pool.records(range(3), 0), data.bytes.get(), data.count);
    store->id = submitter.nextId();
    store->start();
    while (queue->oldestAgeMs() < 20) std::this_thread::yield();
    queue->abandon();
    pool.disks[0]->syncs->abandon();
    submitter.wait(hung->id);
    submitter.wait(store->id);
    REQUIRE(hung->outcome.number == -ETIMEDOUT && hung->occupied());
    REQUIRE(store->statuses[0] == ETIMEDOUT && store->statuses[1] == 0 && store->statuses[2] == 0);
    REQUIRE(Queue::hungThreads() == 1);
  }
  REQUIRE(write(pipes[1], "x", 1) == 1);
  submitter.wait(left, true);
  while (Queue::hungThreads() > 0) std::this_thread::yield();
  close(pipes[0]);
  close(pipes[1]);
}

// Many jobs, while a disk is given up in the middle of them: each is delivered once.
static void races() {
  for (int round = 0; round < 30; round++) {
    Submitter submitter;
    Pool pool(submitter, 6, "race" + std::to_string(round) + "-");
    const Shape shape{4, 2, 2 * kFrameBytes};
    const auto recordBytes = static_cast<int64_t>(kHeaderBytes + shape.shardBytes);
    std::vector<Exact> data, out;
    std::vector<std::shared_ptr<StripeJob>> jobs;
    for (int i = 0; i < 8; i++) {
      const int64_t offset = i * recordBytes;
      data.emplace_back(4 * shape.shardBytes);
      data.back().fill();
      out.emplace_back(4 * shape.shardBytes);
      if (i % 4 == 3)
        jobs.push_back(std::make_shared<RemakeJob>(submitter.core, submitter.codec, shape, pool.records(range(6), offset - 3 * recordBytes),
                                                   pool.records({0, 4}, offset)));
      else if (i % 2 == 0)
        jobs.push_back(std::make_shared<StoreJob>(submitter.core, submitter.codec, shape, pool.records(range(6), offset), data.back().bytes.get(),
                                                  data.back().count));
      else
        // What the job before it may be writing just now.
        jobs.push_back(std::make_shared<FetchJob>(submitter.core, submitter.codec, shape, pool.records(range(6), offset - recordBytes), 0,
                                                  out.back().bytes.get(), out.back().count));
    }
    for (const auto& job : jobs) {
      job->id = submitter.nextId();
      job->start();
    }
    std::this_thread::sleep_for(std::chrono::microseconds(below(500)));
    pool.disks[below(6)]->abandon();
    for (const auto& job : jobs) submitter.wait(job->id);
  }
}

static void queues() {
  Submitter submitter;
  auto queue = std::make_shared<Queue>(submitter.core, 1);
  int pipes[2];
  REQUIRE(pipe(pipes) == 0);
  std::vector<std::shared_ptr<Call>> calls;
  for (size_t i = 0; i < Queue::kTasksMax + 10; i++) {
    auto call = std::make_shared<Call>(submitter.core);
    call->id = submitter.nextId();
    call->start(*queue, [end = pipes[0]](Outcome& outcome) {
      char byte;
      outcome.number = read(end, &byte, 1);
    });
    calls.push_back(call);
  }
  submitter.wait(calls.back()->id);
  REQUIRE(calls.back()->outcome.number == -EAGAIN);
  close(pipes[1]);
  queue->close();
  submitter.wait(calls.front()->id);
  REQUIRE(calls.front()->outcome.number == 0);
  auto late = std::make_shared<Call>(submitter.core);
  late->id = submitter.nextId();
  late->start(*queue, [](Outcome&) {});
  submitter.wait(late->id);
  REQUIRE(late->outcome.number == -EBADF);
  // The reading end must stay until the queue has drained.
  REQUIRE(submitter.core->waitForThreads(10000));
  close(pipes[0]);
}

static void paths() {
  const char alphabet[] = {'a', '.', '/', '\0', 'b'};
  for (int round = 0; round < 20000; round++) {
    std::string path;
    for (size_t i = below(12); i > 0; i--) path += alphabet[below(sizeof alphabet)];
    if (!validRelativePath(path)) continue;
    REQUIRE(path.find('\0') == std::string::npos && path[0] != '/' && path.find("//") == std::string::npos);
    const std::string framed = "/" + path + "/";
    REQUIRE(framed.find("/../") == std::string::npos && framed.find("/./") == std::string::npos);
  }
  REQUIRE(!validRelativePath("") && validRelativePath("a/b..c/...d") && !validRelativePath(std::string(5000, 'a')));
}

static void shared() {
  const std::string path = root + "/shared";
  void* memory;
  REQUIRE(mapShared(path, 8192, &memory) == 0);
  std::memset(memory, 1, 8192);
  unmapShared(memory, 8192);
  REQUIRE(mapShared(path, 4096, &memory) == -EINVAL);
  REQUIRE(symlink(path.c_str(), (path + "-link").c_str()) == 0);
  REQUIRE(mapShared(path + "-link", 8192, &memory) == -ELOOP);
}

int main(int count, char** arguments) {
  if (count != 2) return 2;
  root = arguments[1];
  codes();
  paths();
  shared();
  queues();
  stripes();
  remakes();
  scans();
  hanging();
  races();
  std::printf("native/io: all good\n");
  return 0;
}
