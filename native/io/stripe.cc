// See stripe.h.
#include "stripe.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ostraka {

// ── Reading one record ──────────────────────────────────────────────────────────────────────────────────────────────────

int ReadTask::run(Scratch& scratch) {
  uint8_t* const header = scratch.get();
  if (header == nullptr) return ENOMEM;
  uint8_t* const chunk = header + kHeaderBytes;
  constexpr size_t chunkBytes = Scratch::kBytes - kHeaderBytes;
  static_assert(chunkBytes % kFrameBytes == 0, "a chunk holds whole frames");

  const int fd = record_.file->fd;
  const int64_t content = record_.offset + static_cast<int64_t>(kHeaderBytes);
  const size_t first = from_ / kFrameBytes * kFrameBytes;
  const size_t end = std::min((to_ + kFrameBytes - 1) / kFrameBytes * kFrameBytes, shardBytes_);
  // Both what comes in many reads and what lies apart from its header: the disk has them at once.
  if (first > 0 || end - first > chunkBytes)
    posix_fadvise(fd, content + static_cast<int64_t>(first), static_cast<off_t>(end - first), POSIX_FADV_WILLNEED);

  for (size_t at = first; at < end;) {
    const size_t count = std::min(chunkBytes, end - at);
    // The first frames follow right behind the header: one read for both.
    const size_t before = at == first && first == 0 ? kHeaderBytes : 0;
    if (at == first && first > 0) {
      const int64_t got = readFully(fd, record_.offset, header, kHeaderBytes);
      if (got != static_cast<int64_t>(kHeaderBytes)) return got < 0 ? static_cast<int>(-got) : ENODATA;
    }
    const int64_t got = readFully(fd, content + static_cast<int64_t>(at) - static_cast<int64_t>(before), chunk - before, count + before);
    if (got != static_cast<int64_t>(count + before)) return got < 0 ? static_cast<int>(-got) : ENODATA;
    if (at == first && !headerMatches(header, record_.prefix.data())) return EBADMSG;
    if (!framesMatch(header, chunk, at, count, record_.seed)) return EBADMSG;
    if (target_ != nullptr) {
      const size_t copyFrom = std::max(at, from_);
      const size_t copyTo = std::min(at + count, to_);
      const Claim claim(*this);
      if (!claim) return ETIMEDOUT;
      std::memcpy(target_ + (copyFrom - from_), chunk + (copyFrom - at), copyTo - copyFrom);
    }
    at += count;
  }
  return 0;
}

// ── Store ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

class StoreJob::WriteTask : public Task {
 public:
  WriteTask(std::shared_ptr<StoreJob> store, size_t index) : Task(store), store_(*store), index_(index) {}

  int run(Scratch&) override {
    const Record& record = store_.records_[index_];
    const ShardView shard = store_.shards_[record.shard];
    const size_t shardBytes = store_.shape_.shardBytes;
    std::vector<uint8_t> header(kHeaderBytes);
    {
      const Claim claim(*this);
      if (!claim) return ETIMEDOUT;
      fillHeader(header.data(), record.prefix.data(), shard, shardBytes, record.seed);
    }
    std::vector<iovec> parts;
    parts.push_back({header.data(), kHeaderBytes});
    if (shard.present > 0) parts.push_back({const_cast<uint8_t*>(shard.bytes), shard.present});
    for (size_t at = shard.present; at < shardBytes; at += kZerosBytes)
      parts.push_back({const_cast<uint8_t*>(kZeros), std::min(kZerosBytes, shardBytes - at)});
    return static_cast<int>(-writeAll(record.file->fd, record.offset, parts));
  }

  void finished(int error) override { store_.recordDone(index_, error); }

 private:
  StoreJob& store_;
  const size_t index_;
};

// Computes the parity shards that have a record, then sends them off.
class StoreJob::EncodeTask : public Task {
 public:
  explicit EncodeTask(std::shared_ptr<StoreJob> store) : Task(store), store_(*store) {}

  int run(Scratch&) override {
    const Shape& shape = store_.shape_;
    std::array<uint8_t*, kShardsMax> outputs{};
    store_.parity_.resize(static_cast<size_t>(shape.m));
    for (const Record& record : store_.records_) {
      if (record.shard < shape.k) continue;
      Memory& memory = store_.parity_[static_cast<size_t>(record.shard - shape.k)];
      memory = Memory(shape.shardBytes);
      outputs[record.shard - shape.k] = memory.get();
    }
    const Claim claim(*this);
    if (!claim) return ETIMEDOUT;
    Code::get(shape.k, shape.m).encode(shape.shardBytes, store_.shards_.data(), outputs.data());
    return 0;
  }

  void finished(int error) override {
    const int k = store_.shape_.k;
    for (size_t i = 0; i < store_.records_.size(); i++) {
      const int shard = store_.records_[i].shard;
      if (shard < k) continue;
      if (error != 0) {
        store_.recordDone(i, error);
        continue;
      }
      store_.shards_[shard] = {store_.parity_[static_cast<size_t>(shard - k)].get(), store_.shape_.shardBytes};
      store_.push(i);
    }
  }

 private:
  StoreJob& store_;
};

StoreJob::StoreJob(std::shared_ptr<Core> core, std::shared_ptr<Queue> codec, const Shape& shape, std::vector<Record> records,
                   const uint8_t* data, size_t dataBytes)
    : StripeJob(std::move(core), shape, std::move(records)),
      codec_(std::move(codec)),
      outstanding_(records_.size() + 1),
      tasks_(records_.size()) {
  static_assert(kShardsMax <= 32, "a bit for each shard");
  for (int i = 0; i < shape.k; i++) {
    const size_t from = std::min(static_cast<size_t>(i) * shape.shardBytes, dataBytes);
    shards_[i] = {data + from, std::min(shape.shardBytes, dataBytes - from)};
  }
}

void StoreJob::push(size_t record) {
  auto task = std::make_shared<WriteTask>(std::static_pointer_cast<StoreJob>(shared_from_this()), record);
  bool givenUp;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks_[record] = task;
    givenUp = (givenUp_ >> records_[record].shard & 1) != 0;
    late_ |= 1u << records_[record].shard;
  }
  if (givenUp) task->finish(ETIME);
  else records_[record].file->disk->transfers->push(std::move(task));
}

void StoreJob::giveUp(uint32_t shards) {
  std::vector<std::shared_ptr<Task>> tasks;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    givenUp_ |= shards;
    for (size_t i = 0; i < records_.size(); i++) {
      if ((shards >> records_[i].shard & 1) == 0) continue;
      if (auto task = tasks_[i].lock()) tasks.push_back(std::move(task));
    }
  }
  for (const auto& task : tasks) task->finish(ETIME);
}

void StoreJob::start() {
  bool parity = false;
  for (const Record& record : records_) parity = parity || record.shard >= shape_.k;
  if (parity) codec_->push(std::make_shared<EncodeTask>(std::static_pointer_cast<StoreJob>(shared_from_this())), true);
  for (size_t i = 0; i < records_.size(); i++)
    if (records_[i].shard < shape_.k) push(i);
  // The one extra: nothing completes while we are still at it, not even where every push fails at once.
  if (outstanding_.fetch_sub(1) == 1) complete();
}

void StoreJob::recordDone(size_t record, int error) {
  statuses[record] = error;
  late_ &= ~(1u << records_[record].shard);
  if (outstanding_.fetch_sub(1) == 1) complete();
}

// ── Verify ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

class VerifyJob::WholeTask : public ReadTask {
 public:
  WholeTask(std::shared_ptr<VerifyJob> owner, size_t index)
      : ReadTask(owner, owner->records_[index], owner->shape_.shardBytes, 0, owner->shape_.shardBytes, nullptr),
        owner_(*owner),
        index_(index) {}
  void finished(int error) override { owner_.recordDone(index_, error); }

 private:
  VerifyJob& owner_;
  const size_t index_;
};

void VerifyJob::start() {
  outstanding_ = records_.size() + 1;
  auto self = std::static_pointer_cast<VerifyJob>(shared_from_this());
  for (size_t i = 0; i < records_.size(); i++) records_[i].file->disk->transfers->push(std::make_shared<WholeTask>(self, i));
  if (outstanding_.fetch_sub(1) == 1) complete();
}

void VerifyJob::recordDone(size_t record, int error) {
  statuses[record] = error;
  if (outstanding_.fetch_sub(1) == 1) complete();
}

}  // namespace ostraka
