// Jobs, and the queues and threads that run them. Knows nothing of files, shards or JavaScript.
//
//   submitter ──push──▶ Queue (bounded) ──▶ its thread: Task::run ──▶ Task::finish ──▶ Job::complete ──▶ Core ──wake──▶ submitter
//
// A job is what the submitter waits for; it consists of one or more tasks on one or more queues. A thread that hangs inside a task can be left
// behind (Queue::abandon): the task is finished with ETIMEDOUT from outside, and whatever the thread does later is ignored. So a task must
// write only to memory that it keeps alive itself, unless it holds `Task::Claim`.
//
// Lock order: a task's mutex, then a job's own, then a queue's, then the core's two. A task is finished with no lock held.
#ifndef OSTRAKA_IO_ENGINE_H
#define OSTRAKA_IO_ENGINE_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace ostraka {

class Core;

// Something that a submitter waits for.
class Job : public std::enable_shared_from_this<Job> {
 public:
  explicit Job(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // Number given by the submitter, before it is started.
  uint64_t id = 0;

  // True while a thread is inside one of the tasks: memory lent by the submitter must stay.
  bool occupied() const { return inside_.load(std::memory_order_acquire) > 0; }

 protected:
  // The result stands; hands it to the submitter. Once.
  void complete();

 private:
  friend class Queue;
  std::shared_ptr<Core> core_;
  std::atomic<int> inside_{0};
};

// Memory of a queue's thread for whatever passes through, kept from task to task.
class Scratch {
 public:
  static constexpr size_t kBytes = 256 * 1024 + 4096;
  ~Scratch();
  // kBytes, page-aligned; null when there is no memory.
  uint8_t* get();

 private:
  uint8_t* bytes_ = nullptr;
};

// One piece of a job's work on one queue.
class Task {
 public:
  explicit Task(std::shared_ptr<Job> job) : job(std::move(job)) {}
  virtual ~Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  // On the queue's thread. Returns 0 or an errno.
  virtual int run(Scratch& scratch) = 0;

  // Ends the task with an errno. Only the first call counts: true.
  bool finish(int error);
  // Was it ended already? Then nobody waits for it to run.
  bool ended();

  const std::shared_ptr<Job> job;

 protected:
  // Takes the result over into the job. Exactly once, on whichever thread.
  virtual void finished(int error) = 0;

  // While it holds, the task cannot be finished from outside, so memory of the submitter may be written. False: it was finished already.
  class Claim {
   public:
    explicit Claim(Task& task) : lock_(task.mutex_), holds_(!task.done_) {}
    explicit operator bool() const { return holds_; }

   private:
    std::lock_guard<std::mutex> lock_;
    const bool holds_;
  };

 private:
  std::mutex mutex_;
  bool done_ = false;
};

// Where completed jobs wait for their submitter, and what all queues of one submitter share.
class Core {
 public:
  // `wake` is called on any thread, some time after the first result since the last `take`, and never after `close`.
  explicit Core(std::function<void()> wake) : wake_(std::move(wake)) {}

  struct Batch {
    std::vector<std::shared_ptr<Job>> completed;
    // Ids of jobs that had completed while a thread hung in them, and that no thread is inside any more.
    std::vector<uint64_t> vacated;
  };
  Batch take();

  // Nothing is delivered after this.
  void close();
  // Waits until no thread is left, at most `timeoutMs`; false when some are.
  bool waitForThreads(int timeoutMs);

 private:
  friend class Job;
  friend class Queue;
  void completed(std::shared_ptr<Job> job);
  void vacated(uint64_t id);
  void threadStarted();
  void threadEnded();
  template <typename Add>
  void deliver(Add add);

  std::mutex mutex_;
  std::condition_variable ended_;
  // Held while the submitter is woken, without the lock above: it would wake, run into that, and sleep again.
  std::mutex waking_;
  std::function<void()> wake_;
  Batch batch_;
  bool woken_ = false;
  bool closed_ = false;
  int threads_ = 0;
};

// What a thread is for: somebody waits for what it does, or it moves much.
enum class Haste { kPrompt, kSteady };

// A bounded queue of tasks and its thread or threads.
class Queue : public std::enable_shared_from_this<Queue> {
 public:
  // Tasks that may wait: far more than the requests in flight above us, so that only a stalled disk reaches it.
  static constexpr size_t kTasksMax = 1024;

  // Threads start with the first task. `name` is theirs in ps(1) and top(1), 15 characters at most.
  Queue(std::shared_ptr<Core> core, int threads, Haste haste = Haste::kPrompt, const char* name = "ostraka-io")
      : core_(std::move(core)), threadsMax_(threads), haste_(haste), name_(name) {}

  // Takes the task, or finishes it at once: EAGAIN when full, ETIMEDOUT when abandoned, EBADF when closed, ENOMEM without a thread.
  // `urgent` tasks are always taken while it is open.
  void push(std::shared_ptr<Task> task, bool urgent = false);

  // Closes a descriptor on the queue's thread, or, where that is gone, on one of its own: close(2) may hang as any other call.
  void closeDescriptor(int fd);

  // Milliseconds for which the oldest running task has been running; 0 when none is.
  int64_t oldestAgeMs();

  // Runs what is queued, then ends the threads.
  void close();

  // Finishes everything queued and running with ETIMEDOUT. A thread inside a task is left behind.
  void abandon();

  // Threads of this process that were left behind and have not come back.
  static int hungThreads();

 private:
  struct Running {
    std::shared_ptr<Task> task;
    int64_t sinceMs = 0;
  };

  bool startThreadLocked();
  void loop(size_t slot);
  void runOne(std::unique_lock<std::mutex>& lock, Running& running, Scratch& scratch);
  void startCloserLocked();
  void drainDescriptors(std::unique_lock<std::mutex>& lock);

  const std::shared_ptr<Core> core_;
  const int threadsMax_;
  const Haste haste_;
  const char* const name_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Task>> tasks_;
  std::vector<int> descriptors_;
  std::deque<Running> running_;  // a place for each thread; deque: places do not move
  int threads_ = 0;
  size_t idle_ = 0;
  bool closed_ = false;
  bool abandoned_ = false;
};

// Puts the calling thread `steps` of nice(2) before the program's other threads; those that it starts from now on go with it, the steady ones excepted. 0 or a
// negative errno: whoever may not do it stays as it is.
int goBefore(int steps);

// Puts the calling thread, started by one that went before, back among the others.
void stayBehind();

// Runs `body` on a thread of its own with all signals blocked and a small stack. False when there is none to be had.
bool startThread(std::function<void()> body, Haste haste = Haste::kPrompt);

int64_t monotonicMs();

}  // namespace ostraka

#endif
