// A job of one task: a blocking call on a disk's thread, and what came of it.
#ifndef OSTRAKA_IO_CALLS_H
#define OSTRAKA_IO_CALLS_H

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine.h"
#include "files.h"

namespace ostraka {

struct FreeBytes {
  void operator()(uint8_t* bytes) const { std::free(bytes); }
};

// What a call came to. A negative number is an errno and stands for everything else.
struct Outcome {
  enum class Kind { kNumber, kText, kNames, kPair, kBytes, kFile };
  Kind kind = Kind::kNumber;
  int64_t number = 0;
  int64_t second = 0;
  std::string text;
  std::vector<std::string> names;
  std::unique_ptr<uint8_t, FreeBytes> bytes;  // `number` of them
  std::shared_ptr<File> file;
};

class Call : public Job {
 public:
  using Work = std::function<void(Outcome&)>;

  explicit Call(std::shared_ptr<Core> core) : Job(std::move(core)) {}

  // `work` must own what it touches: it may run on after the call was given up.
  void start(Queue& queue, Work work, bool urgent = false) {
    auto self = std::static_pointer_cast<Call>(shared_from_this());
    queue.push(std::make_shared<CallTask>(std::move(self), std::move(work)), urgent);
  }

  Outcome outcome;

 private:
  class CallTask : public Task {
   public:
    CallTask(std::shared_ptr<Call> call, Work work) : Task(call), call_(*call), work_(std::move(work)) {}

    int run(Scratch&) override {
      work_(outcome_);
      return 0;
    }

    void finished(int error) override {
      if (error != 0) call_.outcome.number = -error;
      else call_.outcome = std::move(outcome_);
      call_.complete();
    }

   private:
    Call& call_;
    const Work work_;
    Outcome outcome_;
  };
};

}  // namespace ostraka

#endif
