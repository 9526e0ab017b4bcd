//! The running registry: one cloneable handle, and the driver that feeds it time and publishes what changes.
