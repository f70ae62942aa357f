#pragma once

#include <cstdint>
#include <cstring>
#include <functional>

// A block of CUDA threads as fibers of one CPU thread: each runs up to a barrier, then the next one does.
namespace emulation {

// Whose turn it is between barriers: thread by thread, or one warp as far as it can go before the next. A
// result that changes with the order has a barrier missing.
enum class Order { forward, backward, shuffled, first_warp, last_warp };
constexpr Order orders[] = {Order::forward, Order::backward, Order::shuffled, Order::first_warp,
                            Order::last_warp};
inline Order order = Order::forward;

// Runs `body` as so many threads, a multiple of 32. Aborts with a message where threads of a block, or of a
// warp, wait at different barriers for ever.
void run_block(unsigned threads, const std::function<void()>& body);

struct Index {
  unsigned x;
};
Index thread_index();
unsigned lane();

void block_barrier();
bool block_or(bool vote);

// The bits that `lane` of this warp brought to the same exchange.
uint64_t exchange_bits(uint64_t bits, unsigned lane);

template <typename T>
T exchange(T value, unsigned lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange_bits(bits, lane);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace emulation
