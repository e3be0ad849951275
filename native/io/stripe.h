// Storing, fetching, remaking and verifying one blob's shard records on many disks at once: each is one job. The format is in format.h.
//
// The submitter's memory (`data`, `out`) is read under a claim while it is checksummed and coded, by the kernel while it is written to disk, and written
// under a claim alone: disks read into the memory of their threads, and only what was verified is copied out. So a disk that hangs and
// comes back later can never scribble over memory that has been given back.
#ifndef OSTRAKA_IO_STRIPE_H
#define OSTRAKA_IO_STRIPE_H

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "codec.h"
#include "engine.h"
#include "files.h"
#include "format.h"
#include "memory.h"

namespace ostraka {

struct Shape {
  int k;
  int m;
  size_t shardBytes;
};

struct Record {
  int shard;
  std::shared_ptr<File> file;
  int64_t offset;
  uint32_t seed;
  std::array<uint8_t, kPrefixBytes> prefix;
};

// Reads bytes from…to of a shard into `target`, or, if that is null, nowhere; verifies header and frames. Returns 0 or an errno.
class ReadTask : public Task {
 public:
  ReadTask(std::shared_ptr<Job> job, const Record& record, size_t shardBytes, size_t from, size_t to, uint8_t* target)
      : Task(std::move(job)), record_(record), shardBytes_(shardBytes), from_(from), to_(to), target_(target) {}
  int run(Scratch& scratch) override;

 private:
  const Record& record_;  // the job's
  const size_t shardBytes_;
  const size_t from_;
  const size_t to_;
  uint8_t* const target_;
};

class StripeJob : public Job {
 public:
  StripeJob(std::shared_ptr<Core> core, const Shape& shape, std::vector<Record> records)
      : Job(std::move(core)), shape_(shape), records_(std::move(records)), statuses(records_.size(), 0) {}
  virtual void start() = 0;
  // The submitter has waited long enough: goes around what has not answered, if it can.
  virtual void hurry() {}
  // Shards whose disks were asked and have not answered yet, a bit each.
  virtual uint32_t late() { return 0; }
  // Ends these with ETIME if they have not.
  virtual void giveUp(uint32_t) {}

  // Names the job to the submitter while it runs; 0: it has no name.
  uint64_t token = 0;

 protected:
  const Shape shape_;
  const std::vector<Record> records_;

 public:
  // For each record 0 or an errno; a fetch adds one of its own at the end. Valid when completed.
  std::vector<int32_t> statuses;
};

// Encodes and writes. Data shards go to their disks at once, straight from `data`; parity follows from a codec thread.
class StoreJob : public StripeJob {
 public:
  StoreJob(std::shared_ptr<Core> core, std::shared_ptr<Queue> codec, const Shape& shape, std::vector<Record> records, const uint8_t* data,
           size_t dataBytes);
  void start() override;
  uint32_t late() override { return late_.load(); }
  // What is being written goes on being written, from memory that the submitter may use for something else by then.
  void giveUp(uint32_t shards) override;

 private:
  class EncodeTask;
  class WriteTask;
  void push(size_t record);
  void recordDone(size_t record, int error);

  const std::shared_ptr<Queue> codec_;
  std::array<ShardView, kShardsMax> shards_{};
  std::vector<Memory> parity_;
  std::atomic<size_t> outstanding_;
  std::atomic<uint32_t> late_{0};
  std::mutex mutex_;
  // Of each record, while it is under way.
  std::vector<std::weak_ptr<Task>> tasks_;
  uint32_t givenUp_ = 0;
};

// Reads a range of the content. Rounds: read what is wanted; for what failed, read as much of other shards as is needed; rebuild; until all
// is there or too few records are left. Rebuilding goes window by window, so that its memory is bounded.
class FetchJob : public StripeJob {
 public:
  // What one rebuild holds of each of k shards.
  static constexpr size_t kWindowBytes = 512 * 1024;

  FetchJob(std::shared_ptr<Core> core, std::shared_ptr<Queue> codec, const Shape& shape, std::vector<Record> records, size_t offset,
           uint8_t* out, size_t outBytes);
  void start() override { advance(); }
  // Gives up the reads that are under way, with ETIME, if k other shards are left. Whatever their threads read later goes nowhere.
  void hurry() override;

 private:
  class RebuildTask;
  class RangeTask;
  enum class State { kPending, kGood, kBad };
  // A wanted range of one data shard.
  struct Piece {
    int shard;
    size_t from;
    size_t to;
    uint8_t* out;
    bool done;
  };
  struct Read {
    size_t record;
    size_t from;
    size_t to;
    uint8_t* target;
    Memory own;
    State state;
  };

  void advance();
  // Chooses the next reads. Returns false when the job has come to its end: all is there, or it cannot be had.
  bool plan(std::vector<size_t>& reads, bool& rebuild);
  bool usable(int shard) const { return recordOf_[shard] >= 0 && statuses[static_cast<size_t>(recordOf_[shard])] == 0; }
  const Read* covering(int shard, size_t from, size_t to) const;
  void splitMissing();
  size_t addRead(size_t record, size_t from, size_t to, uint8_t* target);
  void readDone(size_t read, int error);
  void rebuildDone(int error);
  bool rebuildWindow();

  const std::shared_ptr<Queue> codec_;
  std::array<int, kShardsMax> recordOf_;
  std::mutex mutex_;
  std::vector<Piece> pieces_;
  std::vector<Read> reads_;
  // Of each read, while it is under way.
  std::vector<std::weak_ptr<Task>> tasks_;
  size_t outstanding_ = 0;
  // The window that is being rebuilt.
  size_t windowFrom_ = 0;
  size_t windowTo_ = 0;
};

// Makes records of others: reads k of the sources, in the order given, and goes on to the next where one is bad; computes the targets' shards and writes
// them, and has the disks begin with that. A target that was also read is a copy. The statuses are those of the sources, of the targets, and of the
// whole: 0, or EIO where fewer than k sources were good (then nothing was written).
class RemakeJob : public StripeJob {
 public:
  RemakeJob(std::shared_ptr<Core> core, std::shared_ptr<Queue> codec, const Shape& shape, std::vector<Record> sources,
            std::vector<Record> targets);
  void start() override { advance(); }

 private:
  class SourceTask;
  class CodeTask;
  class TargetTask;
  enum class State { kIdle, kReading, kGood, kBad };

  static std::vector<Record> joined(const std::vector<Record>& sources, const std::vector<Record>& targets);
  void advance();
  void sourceDone(size_t index, int error);
  bool compute();
  void computed(int error);
  void targetDone(size_t index, int error);

  const std::shared_ptr<Queue> codec_;
  const size_t sourceCount_;
  const MemoryDemand demand_;
  std::mutex mutex_;
  std::vector<State> states_;
  std::vector<Memory> sources_;
  std::vector<Memory> made_;
  // Of each shard that is a target: where its bytes are.
  std::array<const uint8_t*, kShardsMax> outputs_{};
  size_t outstanding_ = 0;
};

// Reads and checks everything of each record.
class VerifyJob : public StripeJob {
 public:
  using StripeJob::StripeJob;
  void start() override;

 private:
  class WholeTask;
  void recordDone(size_t record, int error);
  std::atomic<size_t> outstanding_{0};
};

}  // namespace ostraka

#endif
