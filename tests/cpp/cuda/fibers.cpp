#include "fibers.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

namespace emulation {

namespace {

constexpr unsigned warp = 32;
constexpr size_t stack_bytes = 32 * 1024;

enum class Wait { none, for_warp, for_block, ended };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  Wait wait = Wait::none;
  unsigned exchanges = 0;  // so far; even and odd ones use their own slots, so one barrier is enough
  unsigned votes = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  unsigned threads = 0, current = 0;
  std::vector<unsigned> turns;  // the order, and how far it has come
  size_t turn = 0;
  ucontext_t caller;
  std::vector<uint64_t> slots[2];
  bool vote[3] = {};
  const std::function<void()>* body = nullptr;
};
Block block;

// Lets those go on that all wait for one another; false where there is nobody.
bool release(unsigned begin, unsigned end, Wait wait) {
  bool any = false;
  for (unsigned i = begin; i < end; ++i) {
    const Wait has = block.fibers[i].wait;
    if (has != wait && has != Wait::ended) return false;
    any = any || has == wait;
  }
  for (unsigned i = begin; any && i < end; ++i)
    if (block.fibers[i].wait == wait) block.fibers[i].wait = Wait::none;
  return any;
}

bool release_any() {
  bool any = false;
  for (unsigned w = 0; w < block.threads; w += warp) any = release(w, w + warp, Wait::for_warp) || any;
  return any || release(0, block.threads, Wait::for_block);
}

bool all_ended() {
  return std::all_of(block.fibers.begin(), block.fibers.begin() + block.threads,
                     [](const Fiber& fiber) { return fiber.wait == Wait::ended; });
}

void shuffle() {
  static std::mt19937 random(1);
  block.turn = 0;
  if (order == Order::shuffled) std::shuffle(block.turns.begin(), block.turns.end(), random);
}

[[noreturn]] void stuck() {
  std::puts("the block's threads wait at different barriers");
  std::abort();
}

Fiber& next_thread() {
  for (;;) {
    for (; block.turn < block.threads; ++block.turn) {
      block.current = block.turns[block.turn];
      if (block.fibers[block.current].wait == Wait::none) return block.fibers[block.current];
    }
    shuffle();
    if (!release_any()) stuck();
  }
}

bool find_in_warp(unsigned begin) {
  for (unsigned i = begin; i < begin + warp; ++i) {
    block.current = i;
    if (block.fibers[i].wait == Wait::none) return true;
  }
  return false;
}

Fiber& next_of_warps() {
  for (;;) {
    for (unsigned w = 0; w < block.threads; w += warp) {
      const unsigned begin = order == Order::first_warp ? w : block.threads - warp - w;
      if (find_in_warp(begin) || (release(begin, begin + warp, Wait::for_warp) && find_in_warp(begin)))
        return block.fibers[block.current];
    }
    if (!release(0, block.threads, Wait::for_block)) stuck();
  }
}

Fiber& next() {
  return order == Order::first_warp || order == Order::last_warp ? next_of_warps() : next_thread();
}

void yield(Wait wait) {
  Fiber& from = block.fibers[block.current];
  from.wait = wait;
  Fiber& to = next();
  if (&to != &from) swapcontext(&from.context, &to.context);
}

void start() {
  (*block.body)();
  block.fibers[block.current].wait = Wait::ended;
  if (!all_ended()) setcontext(&next().context);
  // The last one returns to run_block.
}

void prepare(unsigned threads) {
  if (block.fibers.size() < threads) block.fibers.resize(threads);
  block.threads = threads;
  block.turns.resize(threads);
  std::iota(block.turns.begin(), block.turns.end(), 0u);
  if (order == Order::backward) std::reverse(block.turns.begin(), block.turns.end());
  shuffle();
  for (std::vector<uint64_t>& slots : block.slots) slots.assign(threads, 0);
  std::fill(block.vote, block.vote + 3, false);
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = block.fibers[i];
    fiber.wait = Wait::none;
    fiber.exchanges = fiber.votes = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = &block.caller;
    makecontext(&fiber.context, start, 0);
  }
}

}  // namespace

void run_block(unsigned threads, const std::function<void()>& body) {
  block.body = &body;
  prepare(threads);
  swapcontext(&block.caller, &next().context);
}

Index thread_index() { return {block.current}; }
unsigned lane() { return block.current % warp; }

void block_barrier() { yield(Wait::for_block); }

bool block_or(bool vote) {
  const unsigned slot = block.fibers[block.current].votes++ % 3;
  block.vote[slot] = block.vote[slot] || vote;
  block.vote[(slot + 1) % 3] = false;  // two votes back: all have read it, none has come to the next
  block_barrier();
  return block.vote[slot];
}

uint64_t exchange_bits(uint64_t bits, unsigned from) {
  const unsigned me = block.current;
  std::vector<uint64_t>& slots = block.slots[block.fibers[me].exchanges++ % 2];
  slots[me] = bits;
  yield(Wait::for_warp);
  return slots[me - me % warp + from % warp];
}

}  // namespace emulation
