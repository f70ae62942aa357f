#include "pool.h"

#include <sys/wait.h>

#include <chrono>
#include <set>

#include "testing.h"

namespace {

using coder::Pool;

// Every index exactly once, in pieces of at most the asked length.
void covers(Pool& pool, int64_t count, int64_t piece, bool share) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
  std::atomic<int> wrong{0};
  pool.run(count, piece, share, [&](int64_t begin, int64_t end) noexcept {
    if (begin % piece != 0 || end - begin > piece || end <= begin) ++wrong;
    for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
  });
  CHECK(wrong == 0);
  for (const std::atomic<int>& times : seen) CHECK(times == 1);
}

std::set<std::thread::id> helpers(Pool& pool, bool share) {
  std::mutex lock;
  std::set<std::thread::id> ids;
  pool.run(40, 1, share, [&](int64_t, int64_t) noexcept {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const std::lock_guard<std::mutex> hold(lock);
    ids.insert(std::this_thread::get_id());
  });
  return ids;
}

// A second caller must not wait: the first one's piece ends only when the second's loop has run.
void second_caller_runs_alone(Pool& pool) {
  std::atomic<bool> inside{false};
  std::atomic<bool> done{false};
  std::thread first([&] {
    pool.run(2, 1, true, [&](int64_t, int64_t) noexcept {
      inside = true;
      const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (!done && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    });
  });
  while (!inside) std::this_thread::yield();
  const auto start = std::chrono::steady_clock::now();
  std::set<std::thread::id> ids = helpers(pool, true);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  CHECK(ids.size() == 1 && *ids.begin() == std::this_thread::get_id());
  done = true;
  first.join();
}

// Jobs at short and long intervals, so that workers are met looking, falling asleep and asleep.
void many_jobs(Pool& pool) {
  for (int job = 0; job < 3000; ++job) {
    std::atomic<int64_t> sum{0};
    pool.run(7, 2, true, [&](int64_t begin, int64_t end) noexcept { sum += end - begin; });
    CHECK(sum == 7);
    if (job % 100 == 0) std::this_thread::sleep_for(std::chrono::microseconds(job / 10));
  }
}

// A child must neither wait for threads that it does not have, nor for them when it lets go of the pool.
void works_in_a_forked_child(int threads) {
  std::shared_ptr<Pool> pool = coder::make_pool(threads);
  many_jobs(*pool);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    covers(*pool, 1000, 3, true);
    pool.reset();
    _exit(failures == 0 ? 0 : 1);  // without exit handlers, which are the parent's
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  covers(*pool, 1000, 3, true);
}

}  // namespace

int main() {
  for (int threads : {1, 2, 5}) {
    Pool pool(threads);
    CHECK(pool.threads() == threads);
    for (bool share : {true, false})
      for (int64_t count : {0, 1, 2, 7, 64, 1000})
        for (int64_t piece : {1, 3, 64}) covers(pool, count, piece, share);
    many_jobs(pool);
    CHECK(helpers(pool, false).size() == 1);
    if (threads > 1) CHECK(helpers(pool, true).size() > 1);
    if (threads > 1) second_caller_runs_alone(pool);
    works_in_a_forked_child(threads);
  }
  for (int i = 0; i < 50; ++i) Pool unused(3);
  return finish();
}
