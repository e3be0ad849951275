// The reading job of stripe.h: which records are read, and what is rebuilt from which.
#include <algorithm>
#include <cerrno>

#include "stripe.h"

namespace ostraka {

class FetchJob::RangeTask : public ReadTask {
 public:
  RangeTask(std::shared_ptr<FetchJob> fetch, size_t index, const Read& read)
      : ReadTask(fetch, fetch->records_[read.record], fetch->shape_.shardBytes, read.from, read.to, read.target),
        fetch_(*fetch),
        index_(index) {}
  void finished(int error) override { fetch_.readDone(index_, error); }

 private:
  FetchJob& fetch_;
  const size_t index_;
};

class FetchJob::RebuildTask : public Task {
 public:
  explicit RebuildTask(std::shared_ptr<FetchJob> fetch) : Task(fetch), fetch_(*fetch) {}
  int run(Scratch&) override {
    const Claim claim(*this);
    if (!claim) return ETIMEDOUT;
    return fetch_.rebuildWindow() ? 0 : EIO;
  }
  void finished(int error) override { fetch_.rebuildDone(error); }

 private:
  FetchJob& fetch_;
};

FetchJob::FetchJob(std::shared_ptr<Core> core, std::shared_ptr<Queue> codec, const Shape& shape, std::vector<Record> records, size_t offset,
                   uint8_t* out, size_t outBytes)
    : StripeJob(std::move(core), shape, std::move(records)), codec_(std::move(codec)) {
  statuses.push_back(0);
  recordOf_.fill(-1);
  for (size_t i = 0; i < records_.size(); i++) recordOf_[static_cast<size_t>(records_[i].shard)] = static_cast<int>(i);
  for (size_t at = offset; at < offset + outBytes;) {
    const size_t shard = at / shape.shardBytes;
    const size_t from = at % shape.shardBytes;
    const size_t to = std::min(shape.shardBytes, from + (offset + outBytes - at));
    pieces_.push_back({static_cast<int>(shard), from, to, out + (at - offset), false});
    at += to - from;
  }
}

const FetchJob::Read* FetchJob::covering(int shard, size_t from, size_t to) const {
  for (const Read& read : reads_)
    if (records_[read.record].shard == shard && read.state != State::kBad && read.from <= from && read.to >= to) return &read;
  return nullptr;
}

size_t FetchJob::addRead(size_t record, size_t from, size_t to, uint8_t* target) {
  Memory own;
  if (target == nullptr) {
    own = Memory(to - from);
    target = own.get();
  }
  reads_.push_back({record, from, to, target, std::move(own), State::kPending});
  return reads_.size() - 1;
}

// Cuts pieces that must be rebuilt into windows.
void FetchJob::splitMissing() {
  std::vector<Piece> split;
  for (const Piece& piece : pieces_) {
    if (piece.done || usable(piece.shard)) {
      split.push_back(piece);
      continue;
    }
    for (size_t from = piece.from; from < piece.to; from += kWindowBytes)
      split.push_back({piece.shard, from, std::min(from + kWindowBytes, piece.to), piece.out + (from - piece.from), false});
  }
  pieces_ = std::move(split);
}

bool FetchJob::plan(std::vector<size_t>& reads, bool& rebuild) {
  rebuild = false;
  for (Piece& piece : pieces_) {
    if (piece.done || !usable(piece.shard)) continue;
    const auto record = static_cast<size_t>(recordOf_[static_cast<size_t>(piece.shard)]);
    // Only its own read writes into its part of `out`; that it is there and the record still good means that it has arrived.
    const bool arrived = std::any_of(reads_.begin(), reads_.end(), [&](const Read& read) { return read.target == piece.out; });
    if (arrived) piece.done = true;
    else reads.push_back(addRead(record, piece.from, piece.to, piece.out));
  }
  splitMissing();
  const auto missing = std::find_if(pieces_.begin(), pieces_.end(), [this](const Piece& piece) { return !piece.done && !usable(piece.shard); });
  if (missing == pieces_.end()) return !reads.empty();

  windowFrom_ = missing->from;
  windowTo_ = missing->to;
  int sources = 0;
  for (int shard = 0; shard < shape_.k + shape_.m; shard++)
    if (usable(shard) && covering(shard, windowFrom_, windowTo_) != nullptr) sources++;
  for (int shard = 0; shard < shape_.k + shape_.m && sources < shape_.k; shard++) {
    if (!usable(shard) || covering(shard, windowFrom_, windowTo_) != nullptr) continue;
    reads.push_back(addRead(static_cast<size_t>(recordOf_[static_cast<size_t>(shard)]), windowFrom_, windowTo_, nullptr));
    sources++;
  }
  if (sources < shape_.k) {
    statuses.back() = EIO;
    reads.clear();
    return false;
  }
  rebuild = reads.empty();
  return true;
}

// Called when nothing is outstanding: at the start, and by whoever finished last.
void FetchJob::advance() {
  auto self = std::static_pointer_cast<FetchJob>(shared_from_this());
  for (;;) {
    std::vector<std::pair<std::shared_ptr<Queue>, std::shared_ptr<Task>>> tasks;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      std::vector<size_t> reads;
      bool rebuild = false;
      bool more = false;
      try {
        more = plan(reads, rebuild);
      } catch (const std::bad_alloc&) {
        statuses.back() = ENOMEM;
      }
      if (!more) break;
      for (size_t index : reads) {
        const Read& read = reads_[index];
        auto task = std::make_shared<RangeTask>(self, index, read);
        tasks_.resize(reads_.size());
        tasks_[index] = task;
        tasks.emplace_back(records_[read.record].file->disk->fetches, std::move(task));
      }
      if (rebuild) tasks.emplace_back(codec_, std::make_shared<RebuildTask>(self));
      // One more than there are: nobody else advances while we are still at it, not even where every push fails at once.
      outstanding_ = tasks.size() + 1;
    }
    for (auto& [queue, task] : tasks) queue->push(std::move(task), queue == codec_);
    std::lock_guard<std::mutex> lock(mutex_);
    if (--outstanding_ > 0) return;
  }
  complete();
}

void FetchJob::hurry() {
  std::vector<std::shared_ptr<Task>> late;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    std::array<bool, kShardsMax> pending{};
    for (size_t i = 0; i < reads_.size(); i++) {
      if (reads_[i].state != State::kPending || i >= tasks_.size()) continue;
      pending[static_cast<size_t>(records_[reads_[i].record].shard)] = true;
      if (auto task = tasks_[i].lock()) late.push_back(std::move(task));
    }
    int left = 0;
    for (int shard = 0; shard < shape_.k + shape_.m; shard++)
      if (usable(shard) && !pending[static_cast<size_t>(shard)]) left++;
    if (left < shape_.k) return;
  }
  for (const auto& task : late) task->finish(ETIME);
}

void FetchJob::readDone(size_t index, int error) {
  bool last;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Read& read = reads_[index];
    read.state = error == 0 ? State::kGood : State::kBad;
    if (error != 0) statuses[read.record] = error;
    last = --outstanding_ == 0;
  }
  if (last) advance();
}

// Fills the pieces of the window from k shards that cover it. On a codec thread, alone: nothing is outstanding but this.
bool FetchJob::rebuildWindow() {
  std::array<const uint8_t*, kShardsMax> sources{};
  std::array<uint8_t*, kShardsMax> targets{};
  std::lock_guard<std::mutex> lock(mutex_);
  for (int shard = 0; shard < shape_.k + shape_.m; shard++) {
    if (!usable(shard)) continue;
    const Read* read = covering(shard, windowFrom_, windowTo_);
    if (read != nullptr) sources[static_cast<size_t>(shard)] = read->target + (windowFrom_ - read->from);
  }
  for (Piece& piece : pieces_) {
    if (piece.done || usable(piece.shard) || piece.from != windowFrom_ || piece.to != windowTo_) continue;
    targets[static_cast<size_t>(piece.shard)] = piece.out;
    piece.done = true;
  }
  if (!Code::get(shape_.k, shape_.m).rebuild(windowTo_ - windowFrom_, sources.data(), targets.data())) return false;
  // What was read for this window alone has served.
  for (Read& read : reads_) {
    if (read.own.get() == nullptr) continue;
    read.own = Memory();
    read.state = State::kBad;
  }
  return true;
}

void FetchJob::rebuildDone(int error) {
  bool last;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (error != 0) {
      statuses.back() = error;
      // No further round: whatever is left stays undone.
      for (Piece& piece : pieces_) piece.done = true;
    }
    last = --outstanding_ == 0;
  }
  if (last) advance();
}

}  // namespace ostraka
