#pragma once

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace coder {

// A few threads that wait for loops to share. One caller at a time has them; another caller that comes
// meanwhile runs its loop alone rather than wait. They do not survive fork(): in a child every loop runs
// alone.
class Pool {
 public:
  // threads >= 1 counts the caller. Throws std::system_error where a thread cannot be started.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Whether this is the process that started the threads.
  bool at_home() const { return home_ == getpid(); }

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end) for pieces of [0, count), each `piece` long but the last, and returns when all are
  // done. `body` must not throw: workers would go on in what its caller has left. With `share` false the
  // caller does them all, in order.
  template <typename Body>
  void run(int64_t count, int64_t piece, bool share, const Body& body) {
    static_assert(std::is_nothrow_invocable_v<const Body&, int64_t, int64_t>, "declare it noexcept");
    const auto call = [](const void* it, int64_t begin, int64_t end) {
      (*static_cast<const Body*>(it))(begin, end);
    };
    run_job({call, &body, count, piece}, share);
  }

 private:
  struct Job {
    void (*call)(const void* body, int64_t begin, int64_t end);
    const void* body;
    int64_t count;
    int64_t piece;
  };

  void run_job(const Job& job, bool share);
  void drain(const Job& job, std::atomic<int64_t>& next);
  void serve();
  void stop();

  std::mutex caller_;  // held by the caller that has the workers
  std::mutex state_;   // guards job_, open_, stopping_ and every change of posted_ and active_
  std::condition_variable wake_;
  std::condition_variable idle_;
  Job job_{};
  bool open_ = false;  // a worker may still join job_
  bool stopping_ = false;
  std::atomic<int64_t> next_{0};     // first index of job_ that nobody has taken
  std::atomic<uint64_t> posted_{0};  // jobs so far
  std::atomic<int> active_{0};       // workers inside job_
  std::vector<std::thread> workers_;
  const pid_t home_ = getpid();
};

// A pool that a forked child leaves as it is when it lets go: its threads and whoever waits on its locks are
// in another process, and freeing it would wait for them for ever.
std::shared_ptr<Pool> make_pool(int threads);

}  // namespace coder
