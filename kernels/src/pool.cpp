#include "pool.h"

#include <algorithm>
#include <chrono>

namespace coder {

namespace {

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waking a sleeping thread takes longer than a small job, so a thread looks for a while before it sleeps; not
// longer, as another process may want the core.
template <typename Condition>
void spin_until(const Condition& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(20);
  do {
    for (int i = 0; i < 16; ++i) {
      if (condition()) return;
      pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
}

}  // namespace

Pool::Pool(int threads) {
  workers_.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { serve(); });
  } catch (...) {
    stop();
    throw;
  }
}

Pool::~Pool() { stop(); }

std::shared_ptr<Pool> make_pool(int threads) {
  return {new Pool(threads), [](Pool* pool) {
            if (pool->at_home()) delete pool;
          }};
}

void Pool::stop() {
  {
    const std::lock_guard<std::mutex> lock(state_);
    stopping_ = true;
    ++posted_;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::drain(const Job& job, std::atomic<int64_t>& next) {
  for (;;) {
    const int64_t begin = next.fetch_add(job.piece, std::memory_order_relaxed);
    if (begin >= job.count) return;
    job.call(job.body, begin, std::min(begin + job.piece, job.count));
  }
}

void Pool::run_job(const Job& job, bool share) {
  std::unique_lock<std::mutex> mine(caller_, std::defer_lock);
  if (!share || workers_.empty() || !at_home() || job.count <= job.piece || !mine.try_lock()) {
    std::atomic<int64_t> next{0};
    drain(job, next);
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(state_);
    job_ = job;
    next_ = 0;
    open_ = true;
    ++posted_;
  }
  wake_.notify_all();
  drain(job, next_);
  // A worker that has not woken up by now is not waited for: it finds the job closed.
  std::unique_lock<std::mutex> lock(state_);
  open_ = false;
  lock.unlock();
  spin_until([this] { return active_.load(std::memory_order_acquire) == 0; });
  lock.lock();
  idle_.wait(lock, [this] { return active_.load(std::memory_order_acquire) == 0; });
}

void Pool::serve() {
  uint64_t seen = 0;
  for (;;) {
    spin_until([&] { return posted_.load(std::memory_order_acquire) != seen; });
    std::unique_lock<std::mutex> lock(state_);
    wake_.wait(lock, [&] { return posted_ != seen; });
    if (stopping_) return;
    seen = posted_;
    if (!open_) continue;
    const Job job = job_;
    ++active_;
    lock.unlock();
    drain(job, next_);
    lock.lock();
    if (--active_ == 0) idle_.notify_one();
  }
}

}  // namespace coder
