// The exports of the module, one function each: takes arguments apart, checks every bound, and hands over to the plain C++ behind.
// src/base/native-io.ts is the typed other side and documents each function.
#include "arguments.h"
#include "codec-exports.h"
#include "environment.h"
#include "process-exports.h"
#include "scan.h"

#include <cstring>
#include <iterator>
#include <new>

namespace ostraka {

namespace {

constexpr int64_t kTransferBytesMax = 64 * 1024 * 1024;
constexpr size_t kTransferBuffersMax = 512;
constexpr size_t kRecordColumns = 4;

// ── Disks ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

uint64_t handleAt(const Arguments& args, size_t at) { return static_cast<uint64_t>(args.integer(at, 1, kSafe)); }

std::string relativeAt(const Arguments& args, size_t at, bool emptyAllowed = false) {
  std::string path = args.text(at);
  if (!(emptyAllowed && path.empty()) && !validRelativePath(path)) throwType(args.env, "not a path below the disk's directory: " + path);
  return path;
}

enum class Lane { kFetches, kTransfers, kSyncs };

Queue& queueOf(const Disk& disk, Lane lane) {
  return lane == Lane::kFetches ? *disk.fetches : lane == Lane::kSyncs ? *disk.syncs : *disk.transfers;
}

// Runs `work` on a thread of the disk whose handle is the first argument.
napi_value onDisk(const Arguments& args, Environment& environment, Outcome::Kind kind, std::function<int64_t(Disk&, Outcome&)> work,
                  Lane lane = Lane::kTransfers, bool opened = true) {
  const uint64_t handle = handleAt(args, 0);
  const std::shared_ptr<Disk> disk = environment.disk(handle, opened);
  auto call = std::make_shared<Call>(environment.core);
  Queue& queue = queueOf(*disk, lane);
  return environment.submit(call, {}, [&] {
    call->start(queue, [disk, kind, work](Outcome& outcome) {
      outcome.kind = kind;
      const int64_t result = work(*disk, outcome);
      if (result < 0 || kind == Outcome::Kind::kNumber) outcome.number = result;
    });
  }, handle);
}

napi_value createDisk(const Arguments& args, Environment& environment) { return number(args.env, static_cast<int64_t>(environment.addDisk())); }

napi_value openDirectory(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kText,
                [path = args.text(1)](Disk& disk, Outcome& outcome) { return disk.open(path, &outcome.text); }, Lane::kTransfers, false);
}

napi_value identityStillAt(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kNumber,
                [path = args.text(1)](Disk& disk, Outcome&) { return disk.identityStillAt(path); });
}

napi_value samePath(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kNumber,
                [root = args.text(1), path = relativeAt(args, 2)](Disk& disk, Outcome&) { return disk.samePath(root, path); });
}

napi_value lock(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kNumber, [path = relativeAt(args, 1)](Disk& disk, Outcome&) { return disk.lock(path); });
}

napi_value list(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kNames,
                [path = relativeAt(args, 1, true)](Disk& disk, Outcome& outcome) { return disk.list(path, &outcome.names); });
}

napi_value makeDirectory(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kNumber,
                [path = relativeAt(args, 1)](Disk& disk, Outcome&) { return disk.makeDirectory(path); });
}

napi_value unlink(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kNumber, [path = relativeAt(args, 1)](Disk& disk, Outcome&) { return disk.unlink(path); });
}

napi_value rename(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kNumber,
                [from = relativeAt(args, 1), to = relativeAt(args, 2)](Disk& disk, Outcome&) { return disk.rename(from, to); });
}

napi_value syncDirectory(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kNumber,
                [path = relativeAt(args, 1, true)](Disk& disk, Outcome&) { return disk.syncDirectory(path); }, Lane::kSyncs);
}

napi_value syncAll(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kNumber, [](Disk& disk, Outcome&) { return disk.syncAll(); }, Lane::kSyncs);
}

napi_value capacity(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kPair,
                [](Disk& disk, Outcome& outcome) { return disk.capacity(&outcome.number, &outcome.second); });
}

napi_value openFile(const Arguments& args, Environment& environment) {
  const std::shared_ptr<Disk> shared = environment.disk(handleAt(args, 0));
  return onDisk(args, environment, Outcome::Kind::kFile,
                [shared, path = relativeAt(args, 1), create = args.boolean(2), write = args.boolean(3)](Disk& disk, Outcome& outcome) {
                  const int64_t fd = disk.openFile(path, create, write);
                  if (fd >= 0) outcome.file = std::make_shared<File>(shared, static_cast<int>(fd));
                  return fd;
                });
}

napi_value oldestAgeMs(const Arguments& args, Environment& environment) {
  const auto& disk = environment.disk(handleAt(args, 0), false);
  return number(args.env, disk->oldestAgeMs());
}

napi_value abandon(const Arguments& args, Environment& environment) {
  const std::shared_ptr<Disk> disk = environment.takeDisk(handleAt(args, 0));
  disk->abandon();
  // Another try to open the disk must not find it locked by ourselves.
  disk->unlock();
  return undefined(args.env);
}

napi_value closeDisk(const Arguments& args, Environment& environment) {
  const uint64_t handle = handleAt(args, 0);
  std::shared_ptr<Disk> disk = environment.takeDisk(handle);
  auto call = std::make_shared<Call>(environment.core);
  return environment.submit(call, {}, [&] {
    // Behind everything that is queued; the lock is free once this has resolved.
    call->start(*disk->transfers, [disk](Outcome& outcome) { outcome.number = disk->unlockNow(); }, true);
    disk->fetches->close();
    disk->transfers->close();
    disk->syncs->close();
  });
}

napi_value hungThreads(const Arguments& args, Environment&) { return number(args.env, Queue::hungThreads()); }

// Holds up a disk's thread by opening a FIFO that nobody writes to: for tests of stalls.
template <Lane lane>
napi_value hangForTest(const Arguments& args, Environment& environment) {
  return onDisk(args, environment, Outcome::Kind::kNumber, [path = args.text(1)](Disk&, Outcome&) { return readToEnd(path); }, lane);
}

// ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

napi_value onFile(const Arguments& args, Environment& environment, std::function<int64_t(int)> work, const std::vector<napi_value>& lent = {},
                  Lane lane = Lane::kTransfers) {
  const std::shared_ptr<File> file = environment.file(handleAt(args, 0));
  auto call = std::make_shared<Call>(environment.core);
  Queue& queue = queueOf(*file->disk, lane);
  return environment.submit(call, lent, [&] { call->start(queue, [file, work](Outcome& outcome) { outcome.number = work(file->fd); }); });
}

std::vector<iovec> partsOf(const Arguments& args, const std::vector<napi_value>& buffers) {
  std::vector<iovec> parts;
  size_t total = 0;
  for (napi_value buffer : buffers) {
    const Bytes bytes = args.bytesOf(buffer, "a buffer");
    if (bytes.count > 0) parts.push_back({bytes.data, bytes.count});
    total += bytes.count;
    if (total > static_cast<size_t>(kTransferBytesMax)) throwType(args.env, "more than 64 MiB in one write");
  }
  return parts;
}

napi_value write(const Arguments& args, Environment& environment) {
  const int64_t offset = args.integer(1, 0, kSafe);
  const std::vector<napi_value> buffers = args.elements(2, kTransferBuffersMax);
  return onFile(args, environment, [offset, parts = partsOf(args, buffers)](int fd) {
    std::vector<iovec> rest = parts;
    return writeAll(fd, offset, rest);
  }, buffers);
}

// One hop for three steps: what a commit costs is mostly the threads that it wakes.
napi_value writeSynced(const Arguments& args, Environment& environment) {
  const std::shared_ptr<File> file = environment.file(handleAt(args, 0));
  const int64_t offset = args.integer(1, 0, kSafe);
  const std::vector<napi_value> buffers = args.elements(2, kTransferBuffersMax);
  const std::vector<iovec> parts = partsOf(args, buffers);
  const std::string path = relativeAt(args, 3, true);
  auto call = std::make_shared<Call>(environment.core);
  return environment.submit(call, buffers, [&] {
    call->start(*file->disk->syncs, [file, offset, parts, path](Outcome& outcome) {
      std::vector<iovec> rest = parts;
      outcome.kind = Outcome::Kind::kText;
      outcome.number = writeAll(file->fd, offset, rest);
      if (outcome.number == 0) outcome.number = dataSync(file->fd);
      std::vector<std::string> names;
      if (outcome.number == 0 && !path.empty()) outcome.number = file->disk->list(path, &names);
      for (const std::string& name : names) outcome.text += name + '/';
    });
  });
}

napi_value read(const Arguments& args, Environment& environment) {
  const std::shared_ptr<File> file = environment.file(handleAt(args, 0));
  const int64_t offset = args.integer(1, 0, kSafe);
  const auto count = static_cast<size_t>(args.integer(2, 0, kTransferBytesMax));
  auto call = std::make_shared<Call>(environment.core);
  return environment.submit(call, {}, [&] {
    call->start(*file->disk->transfers, [file, offset, count](Outcome& outcome) {
      outcome.kind = Outcome::Kind::kBytes;
      outcome.bytes.reset(static_cast<uint8_t*>(std::malloc(count > 0 ? count : 1)));
      outcome.number = outcome.bytes ? readFully(file->fd, offset, outcome.bytes.get(), count) : -ENOMEM;
    });
  });
}

// The bytes: how many were walked over (64 bits), then the prefixes of the records.
napi_value scan(const Arguments& args, Environment& environment) {
  const std::shared_ptr<File> file = environment.file(handleAt(args, 0));
  const int64_t offset = args.integer(1, 0, kSafe);
  const auto count = static_cast<size_t>(args.integer(2, kHeaderBytes, kTransferBytesMax));
  const Bytes identity = args.bytes(3);
  if (identity.count != kIdentityBytes) throwType(args.env, "an identity has 32 bytes");
  std::array<uint8_t, kIdentityBytes> expected;
  std::memcpy(expected.data(), identity.data, kIdentityBytes);
  auto call = std::make_shared<Call>(environment.core);
  return environment.submit(call, {}, [&] {
    call->start(*file->disk->transfers, [file, offset, count, expected](Outcome& outcome) {
      std::vector<uint8_t> found(sizeof(int64_t));
      const int64_t walked = scanStretch(file->fd, offset, count, expected.data(), &found);
      std::memcpy(found.data(), &walked, sizeof walked);
      outcome.kind = Outcome::Kind::kBytes;
      outcome.bytes.reset(static_cast<uint8_t*>(std::malloc(found.size())));
      if (outcome.bytes) std::memcpy(outcome.bytes.get(), found.data(), found.size());
      outcome.number = !outcome.bytes ? -ENOMEM : walked < 0 ? walked : static_cast<int64_t>(found.size());
    });
  });
}

napi_value sync(const Arguments& args, Environment& environment) { return onFile(args, environment, dataSync, {}, Lane::kSyncs); }

napi_value size(const Arguments& args, Environment& environment) { return onFile(args, environment, fileSize); }

napi_value nextDataOf(const Arguments& args, Environment& environment) {
  const int64_t offset = args.integer(1, 0, kSafe);
  return onFile(args, environment, [offset](int fd) { return nextData(fd, offset); });
}

using Allocate = int64_t (*)(int, int64_t, int64_t);

napi_value allocate(const Arguments& args, Environment& environment, Allocate function) {
  const int64_t offset = args.integer(1, 0, kSafe);
  const int64_t count = args.integer(2, 1, kSafe);
  return onFile(args, environment, [offset, count, function](int fd) { return function(fd, offset, count); });
}

napi_value preallocateRange(const Arguments& args, Environment& environment) { return allocate(args, environment, preallocate); }

napi_value punch(const Arguments& args, Environment& environment) { return allocate(args, environment, punchHole); }

napi_value close(const Arguments& args, Environment& environment) {
  std::shared_ptr<File> file = environment.takeFile(handleAt(args, 0));
  auto call = std::make_shared<Call>(environment.core);
  return environment.submit(call, {}, [&] {
    Queue& queue = *file->disk->transfers;
    // Behind what is queued; the descriptor goes with the last reference.
    call->start(queue, [file](Outcome&) {}, true);
  });
}

// ── Stripes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

// The records of a table (arguments `at` and `at` + 1) that shall fit the code.
std::vector<Record> recordsAt(const Arguments& args, const Environment& environment, const Code& code, size_t at) {
  size_t columns;
  const double* table = args.doubles(at, &columns);
  const Bytes prefixes = args.bytes(at + 1);
  const size_t count = columns / kRecordColumns;
  if (columns % kRecordColumns != 0 || count > static_cast<size_t>(code.k + code.m) || prefixes.count != count * kPrefixBytes)
    throwType(args.env, "the record table does not fit the code or the prefixes");
  bool taken[kShardsMax] = {};
  std::vector<Record> records;
  records.reserve(count);
  for (size_t i = 0; i < count; i++) {
    const double* row = table + i * kRecordColumns;
    Record record;
    record.shard = static_cast<int>(args.whole(row[0], 0, code.k + code.m - 1, "a shard number"));
    if (std::exchange(taken[record.shard], true)) throwType(args.env, "a shard is there twice");
    record.file = environment.file(static_cast<uint64_t>(args.whole(row[1], 1, kSafe, "a file handle")));
    record.offset = args.whole(row[2], 0, kSafe - static_cast<int64_t>(kHeaderBytes + kShardBytesMax), "a record's offset");
    record.seed = static_cast<uint32_t>(args.whole(row[3], 0, UINT32_MAX, "a seed"));
    std::memcpy(record.prefix.data(), prefixes.data + i * kPrefixBytes, kPrefixBytes);
    records.push_back(std::move(record));
  }
  return records;
}

Shape shapeAt(const Arguments& args, const Code& code) {
  const int64_t shardBytes = args.integer(2, kShardAlignBytes, kShardBytesMax);
  if (shardBytes % static_cast<int64_t>(kShardAlignBytes) != 0) throwType(args.env, "shards must be a multiple of 4 KiB");
  return {code.k, code.m, static_cast<size_t>(shardBytes)};
}

napi_value store(const Arguments& args, Environment& environment) {
  const Code& code = codeAt(args);
  const Shape shape = shapeAt(args, code);
  const Bytes data = args.bytes(5);
  if (data.count > shape.shardBytes * static_cast<size_t>(shape.k)) throwType(args.env, "more data than the shards hold");
  const auto job = std::make_shared<StoreJob>(environment.core, environment.codec, shape, recordsAt(args, environment, code, 3), data.data, data.count);
  job->token = static_cast<uint64_t>(args.integer(6, 0, kSafe));
  return environment.submit(job, {args.value(5)});
}

napi_value fetch(const Arguments& args, Environment& environment) {
  const Code& code = codeAt(args);
  const Shape shape = shapeAt(args, code);
  const auto most = static_cast<int64_t>(shape.shardBytes) * shape.k;
  const int64_t offset = args.integer(5, 0, most);
  const Bytes out = args.bytes(6);
  if (out.count > static_cast<size_t>(most - offset)) throwType(args.env, "the range ends behind the shards");
  const auto job = std::make_shared<FetchJob>(environment.core, environment.codec, shape, recordsAt(args, environment, code, 3),
                                              static_cast<size_t>(offset), out.data, out.count);
  job->token = static_cast<uint64_t>(args.integer(7, 0, kSafe));
  return environment.submit(job, {args.value(6)});
}

napi_value remake(const Arguments& args, Environment& environment) {
  const Code& code = codeAt(args);
  const Shape shape = shapeAt(args, code);
  return environment.submit(std::make_shared<RemakeJob>(environment.core, environment.codec, shape, recordsAt(args, environment, code, 3),
                                                        recordsAt(args, environment, code, 5)),
                            {});
}

napi_value hurry(const Arguments& args, Environment& environment) {
  if (const auto job = environment.stripe(static_cast<uint64_t>(args.integer(0, 1, kSafe)))) job->hurry();
  return undefined(args.env);
}

napi_value lateShards(const Arguments& args, Environment& environment) {
  const auto job = environment.stripe(static_cast<uint64_t>(args.integer(0, 1, kSafe)));
  napi_value result;
  check(napi_create_uint32(args.env, job ? job->late() : 0, &result));
  return result;
}

napi_value giveUp(const Arguments& args, Environment& environment) {
  const auto shards = static_cast<uint32_t>(args.integer(1, 0, UINT32_MAX));
  if (const auto job = environment.stripe(static_cast<uint64_t>(args.integer(0, 1, kSafe)))) job->giveUp(shards);
  return undefined(args.env);
}

napi_value verify(const Arguments& args, Environment& environment) {
  const Code& code = codeAt(args);
  return environment.submit(std::make_shared<VerifyJob>(environment.core, shapeAt(args, code), recordsAt(args, environment, code, 3)), {});
}

// ── Registration ────────────────────────────────────────────────────────────────────────────────────────────────────────

using Function = napi_value (*)(const Arguments&, Environment&);

template <Function function>
napi_value guarded(napi_env env, napi_callback_info info) {
  try {
    const Arguments args(env, info);
    return function(args, Environment::of(env));
  } catch (const Thrown&) {
    bool pending = false;
    if (napi_is_exception_pending(env, &pending) == napi_ok && !pending) napi_throw_error(env, "ERR_NATIVE", "the call could not be made");
  } catch (const std::bad_alloc&) {
    napi_throw_error(env, "ENOMEM", "out of memory");
  }
  return nullptr;
}

template <Function function>
constexpr napi_property_descriptor method(const char* name) {
  return {name, nullptr, guarded<function>, nullptr, nullptr, nullptr, napi_enumerable, nullptr};
}

void define(napi_env env, napi_value exports) {
  Environment::create(env);
  napi_value memory, word;
  // Static memory: valid as long as the process, and the module is never unloaded.
  check(napi_create_external_arraybuffer(env, &Environment::busyWord(), sizeof(int32_t), nullptr, nullptr, &memory));
  check(napi_create_typedarray(env, napi_int32_array, 1, memory, 0, &word));
  const napi_property_descriptor properties[] = {
      method<rebuild>("rebuild"),
      method<encodeBaselineMs>("encodeBaselineMs"),
      method<crc32cOf>("crc32c"),
      method<frameSeedOf>("frameSeed"),
      method<frameCrcs>("frameCrcs"),
      method<createDisk>("createDisk"),
      method<openDirectory>("openDirectory"),
      method<identityStillAt>("identityStillAt"),
      method<samePath>("samePath"),
      method<lock>("lock"),
      method<list>("list"),
      method<makeDirectory>("makeDirectory"),
      method<unlink>("unlink"),
      method<rename>("rename"),
      method<syncDirectory>("syncDirectory"),
      method<syncAll>("syncAll"),
      method<capacity>("capacity"),
      method<openFile>("openFile"),
      method<oldestAgeMs>("oldestAgeMs"),
      method<abandon>("abandon"),
      method<closeDisk>("closeDisk"),
      method<hungThreads>("hungThreads"),
      method<hangForTest<Lane::kTransfers>>("hangForTest"),
      method<hangForTest<Lane::kFetches>>("hangFetchesForTest"),
      method<write>("write"),
      method<writeSynced>("writeSynced"),
      method<read>("read"),
      method<scan>("scan"),
      method<sync>("sync"),
      method<size>("size"),
      method<nextDataOf>("nextData"),
      method<preallocateRange>("preallocate"),
      method<punch>("punch"),
      method<close>("close"),
      method<store>("store"),
      method<fetch>("fetch"),
      method<remake>("remake"),
      method<hurry>("hurry"),
      method<lateShards>("lateShards"),
      method<giveUp>("giveUp"),
      method<verify>("verify"),
      method<mapSharedMemory>("mapShared"),
      method<unmapSharedMemory>("unmapShared"),
      method<kernelTime>("kernelTime"),
      method<goBeforeOthers>("goBefore"),
      method<stayBehindOthers>("stayBehind"),
      method<beginCollection>("beginCollection"),
      method<trimMemory>("trimMemory"),
      method<discardPages>("discardPages"),
      method<inGroupOf>("inGroupOf"),
      method<isTmpfsDirectory>("isTmpfs"),
      method<becomeIoFlusher>("setIoFlusher"),
      method<sendDatagramTo>("sendDatagram"),
      method<becomeProgram>("become"),
      {"busyWord", nullptr, nullptr, nullptr, nullptr, word, napi_enumerable, nullptr},
  };
  check(napi_define_properties(env, exports, std::size(properties), properties));
}

}  // namespace

}  // namespace ostraka

NAPI_MODULE_INIT() {
  try {
    ostraka::define(env, exports);
  } catch (const ostraka::Thrown&) {
    return nullptr;
  }
  return exports;
}
