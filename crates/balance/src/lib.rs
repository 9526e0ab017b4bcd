//! Load-balancing algorithms that pick a backend without a lock, an allocation, a clock or a random source.
