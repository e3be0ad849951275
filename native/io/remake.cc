// The remaking job of stripe.h: k records are read and verified, what is wanted is computed, and written at once. No byte of it leaves the job's memory.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "stripe.h"

namespace ostraka {

// Reads one source into the job's memory, which a thread that hangs may go on writing to: nobody uses it unless the read was good.
class RemakeJob::SourceTask : public Task {
 public:
  SourceTask(std::shared_ptr<RemakeJob> job, size_t index) : Task(job), job_(*job), index_(index) {}

  int run(Scratch& scratch) override {
    const Record& record = job_.records_[index_];
    const size_t shardBytes = job_.shape_.shardBytes;
    uint8_t* const header = scratch.get();
    if (header == nullptr) return ENOMEM;
    uint8_t* const bytes = job_.sources_[index_].get();
    const int fd = record.file->fd;
    const auto recordBytes = static_cast<off_t>(kHeaderBytes + shardBytes);
    if (shardBytes > kChunkBytes) posix_fadvise(fd, record.offset, recordBytes, POSIX_FADV_WILLNEED);
    int64_t got = readFully(fd, record.offset, header, kHeaderBytes);
    if (got != static_cast<int64_t>(kHeaderBytes)) return got < 0 ? static_cast<int>(-got) : ENODATA;
    if (!headerMatches(header, record.prefix.data())) return EBADMSG;
    // In pieces that the processor's cache still has when they are verified.
    for (size_t at = 0; at < shardBytes; at += kChunkBytes) {
      const size_t count = std::min(kChunkBytes, shardBytes - at);
      got = readFully(fd, record.offset + static_cast<int64_t>(kHeaderBytes + at), bytes + at, count);
      if (got != static_cast<int64_t>(count)) return got < 0 ? static_cast<int>(-got) : ENODATA;
      if (!framesMatch(header, bytes + at, at, count, record.seed)) return EBADMSG;
    }
    return 0;
  }

  void finished(int error) override { job_.sourceDone(index_, error); }

 private:
  static constexpr size_t kChunkBytes = 256 * 1024;
  RemakeJob& job_;
  const size_t index_;
};

class RemakeJob::CodeTask : public Task {
 public:
  explicit CodeTask(std::shared_ptr<RemakeJob> job) : Task(job), job_(*job) {}
  int run(Scratch&) override { return job_.compute() ? 0 : EIO; }
  void finished(int error) override { job_.computed(error); }

 private:
  RemakeJob& job_;
};

class RemakeJob::TargetTask : public Task {
 public:
  TargetTask(std::shared_ptr<RemakeJob> job, size_t index) : Task(job), job_(*job), index_(index) {}

  int run(Scratch&) override {
    const Record& record = job_.records_[index_];
    const size_t shardBytes = job_.shape_.shardBytes;
    const uint8_t* const bytes = job_.outputs_[static_cast<size_t>(record.shard)];
    std::vector<uint8_t> header(kHeaderBytes);
    fillHeader(header.data(), record.prefix.data(), {bytes, shardBytes}, shardBytes, record.seed);
    std::vector<iovec> parts{{header.data(), kHeaderBytes}, {const_cast<uint8_t*>(bytes), shardBytes}};
    const int error = static_cast<int>(-writeAll(record.file->fd, record.offset, parts));
    if (error != 0) return error;
    // The disk begins with it now, not when somebody waits for a sync: whether it went well only that sync says.
    const int begun = sync_file_range(record.file->fd, record.offset, static_cast<off_t>(kHeaderBytes + shardBytes), SYNC_FILE_RANGE_WRITE);
    return begun != 0 && (errno == EIO || errno == ENOSPC || errno == EDQUOT) ? errno : 0;
  }

  void finished(int error) override { job_.targetDone(index_, error); }

 private:
  RemakeJob& job_;
  const size_t index_;
};

RemakeJob::RemakeJob(std::shared_ptr<Core> core, std::shared_ptr<Queue> codec, const Shape& shape, std::vector<Record> sources,
                     std::vector<Record> targets)
    : StripeJob(std::move(core), shape, joined(sources, targets)),
      codec_(std::move(codec)),
      sourceCount_(sources.size()),
      demand_((static_cast<size_t>(shape.k) + targets.size()) * shape.shardBytes),
      states_(sources.size(), State::kIdle),
      sources_(sources.size()),
      made_(targets.size()) {
  statuses.push_back(0);
}

std::vector<Record> RemakeJob::joined(const std::vector<Record>& sources, const std::vector<Record>& targets) {
  std::vector<Record> all = sources;
  all.insert(all.end(), targets.begin(), targets.end());
  return all;
}

// Called when nothing is outstanding. Sources are tried in the order in which they were given, as many as are still needed.
void RemakeJob::advance() {
  auto self = std::static_pointer_cast<RemakeJob>(shared_from_this());
  for (;;) {
    std::vector<size_t> reads;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto wanted = static_cast<size_t>(shape_.k - std::count(states_.begin(), states_.end(), State::kGood));
      try {
        for (size_t i = 0; i < sourceCount_ && reads.size() < wanted; i++) {
          if (states_[i] != State::kIdle) continue;
          sources_[i] = Memory(shape_.shardBytes);
          states_[i] = State::kReading;
          reads.push_back(i);
        }
        if (wanted == 0)
          for (Memory& memory : made_) memory = Memory(shape_.shardBytes);
      } catch (const std::bad_alloc&) {
        statuses.back() = ENOMEM;
      }
      if (reads.size() < wanted && statuses.back() == 0) statuses.back() = EIO;
      if (statuses.back() != 0) break;
      outstanding_ = reads.size() + 1;
    }
    if (reads.empty()) {
      codec_->push(std::make_shared<CodeTask>(self), true);
      return;
    }
    for (const size_t index : reads) records_[index].file->disk->transfers->push(std::make_shared<SourceTask>(self, index));
    std::lock_guard<std::mutex> lock(mutex_);
    if (--outstanding_ > 0) return;
  }
  complete();
}

void RemakeJob::sourceDone(size_t index, int error) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    states_[index] = error == 0 ? State::kGood : State::kBad;
    statuses[index] = error;
    if (--outstanding_ > 0) return;
  }
  advance();
}

// On a codec thread, alone: nothing is outstanding but this.
bool RemakeJob::compute() {
  std::array<const uint8_t*, kShardsMax> sources{};
  std::array<uint8_t*, kShardsMax> targets{};
  for (size_t i = 0; i < sourceCount_; i++)
    if (states_[i] == State::kGood) sources[static_cast<size_t>(records_[i].shard)] = sources_[i].get();
  for (size_t i = 0; i < made_.size(); i++) {
    const auto shard = static_cast<size_t>(records_[sourceCount_ + i].shard);
    // What was read is written as it is.
    if (sources[shard] == nullptr) targets[shard] = made_[i].get();
    outputs_[shard] = sources[shard] != nullptr ? sources[shard] : made_[i].get();
  }
  return Code::get(shape_.k, shape_.m).rebuild(shape_.shardBytes, sources.data(), targets.data());
}

void RemakeJob::computed(int error) {
  if (error != 0) {
    statuses.back() = error;
    complete();
    return;
  }
  // What was computed from has served; what is written as it is stays. Memory of reads that were given up belongs to their threads.
  for (size_t i = 0; i < sourceCount_; i++)
    if (states_[i] == State::kGood && outputs_[static_cast<size_t>(records_[i].shard)] != sources_[i].get()) sources_[i] = Memory();
  outstanding_ = made_.size() + 1;
  auto self = std::static_pointer_cast<RemakeJob>(shared_from_this());
  for (size_t i = sourceCount_; i < records_.size(); i++) records_[i].file->disk->transfers->push(std::make_shared<TargetTask>(self, i));
  targetDone(records_.size(), 0);
}

void RemakeJob::targetDone(size_t index, int error) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (index < records_.size()) statuses[index] = error;
    if (--outstanding_ > 0) return;
  }
  complete();
}

}  // namespace ostraka
